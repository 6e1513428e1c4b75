"""`mimic-proxy connect`: what it shows, what it adds to files of other programs, and what it never does to them."""

import http.server
import json
import stat
import threading
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from mimic_proxy.cli.config_files import CannotAdd, added, write
from mimic_proxy.cli.connect import NoModels, connect, listed
from mimic_proxy.cli.tools import TOOLS, ConfigFile, Target, arguments, environment

TARGET = Target("http://localhost:8000", ["chat-small", "chat-large"])
WITH_FILES = sorted(name for name, tool in TOOLS.items() if tool.file is not None)


def file_of(name: str, home: Path, target: Target = TARGET) -> ConfigFile:
    make = TOOLS[name].file
    assert make is not None
    return make(target, {}, home)


def parsed(file: ConfigFile, text: str) -> object:
    if file.path.suffix == ".toml":
        return tomllib.loads(text)
    return json.loads(text) if file.form == "json" else yaml.safe_load(text)


def ran(name: str, home: Path, target: Target = TARGET, writes: bool = True) -> tuple[bool, str]:
    lines: list[str] = []
    return connect(name, target, {}, home, writes=writes, say=lines.append), "\n".join(lines)


@pytest.mark.parametrize("name", TOOLS)
def test_what_is_shown_names_this_mimic_and_no_client_key(name: str, tmp_path: Path):
    ok, said = ran(name, tmp_path, Target("http://localhost:8000", ["chat-small"], "sk-of-a-client"), writes=False)
    assert ok
    assert "http://localhost:8000" in said
    assert "chat-small" in said or name == "open-webui"
    assert "sk-of-a-client" not in said
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", WITH_FILES)
def test_a_new_file_holds_what_is_shown_and_is_the_users_alone(name: str, tmp_path: Path):
    ok, said = ran(name, tmp_path)
    file = file_of(name, tmp_path)
    assert ok
    assert f"Wrote {file.path}." in said
    assert file.path.read_text("utf-8") == added(file, None)
    assert stat.S_IMODE(file.path.stat().st_mode) == 0o600
    assert parsed(file, file.path.read_text("utf-8"))


@pytest.mark.parametrize("name", WITH_FILES)
def test_a_second_call_changes_nothing_and_makes_no_backup(name: str, tmp_path: Path):
    ran(name, tmp_path)
    file = file_of(name, tmp_path)
    before = file.path.read_bytes()
    ok, said = ran(name, tmp_path)
    assert ok
    assert "has it already" in said
    assert file.path.read_bytes() == before
    assert [entry.name for entry in file.path.parent.iterdir()] == [file.path.name]


EXISTING = {
    "aider": "# mine\ndark-mode: true\nread: [a.md]\n",
    "claude": '{\n    "model": "opus",\n    "env": {"DEBUG": "1"},\n    "permissions": {"allow": ["Bash(ls)"]}\n}\n',
    "continue": "name: Mine\nversion: 1.0.0\nschema: v1\n# models of mine\nmodels:\n  - name: GPT  # ours\n"
    "    provider: openai\n    model: gpt-4o\nrules:\n  - be brief\n",
    "llm": "- model_id: mine\n  model_name: gpt\n  # with a comment",
    "opencode": '{"model": "openai/gpt", "provider": {"openai": {"options": {"timeout": 1}}}, "theme": "ü"}',
    "vscode": '[\n\t{"name": "Other", "vendor": "ollama", "url": "http://localhost:11434"}\n]',
}


@pytest.mark.parametrize("name", EXISTING)
def test_what_a_file_has_stays_and_the_file_as_it_was_is_kept(name: str, tmp_path: Path):
    file = file_of(name, tmp_path)
    file.path.parent.mkdir(parents=True, exist_ok=True)
    file.path.write_text(EXISTING[name], "utf-8")
    file.path.chmod(0o640)
    ok, said = ran(name, tmp_path)
    assert ok, said
    text = file.path.read_text("utf-8")
    assert holds(parsed(file, text), parsed(file, EXISTING[name]))
    for comment in ("# mine", "# models of mine", "# ours", "# with a comment", "ü"):
        assert (comment in text) == (comment in EXISTING[name])
    (backup,) = file.path.parent.glob("*.before-mimic-1")
    assert backup.read_text("utf-8") == EXISTING[name]
    assert stat.S_IMODE(file.path.stat().st_mode) == 0o640
    assert ran(name, tmp_path)[0]
    assert file.path.read_text("utf-8") == text


def holds(new: object, old: object) -> bool:
    """Whether a document has everything of another."""
    if isinstance(old, dict):
        return isinstance(new, dict) and all(key in new and holds(new[key], value) for key, value in old.items())
    if isinstance(old, list):
        return isinstance(new, list) and all(any(holds(entry, value) for entry in new) for value in old)
    return new == old


CONFLICTS = {
    "aider": "openai-api-base: https://else.example\n",
    "claude": '{"env": {"ANTHROPIC_BASE_URL": "https://else.example"}}',
    "codex": 'model = "gpt"\n',
    "continue": "models: [{name: inline}]\n",
    "llm": "- {model_id: mimic/chat-small, model_name: other}\n",
    "opencode": '{"provider": "none"}',
    "vscode": "// comments make it no JSON\n[]",
}


@pytest.mark.parametrize("name", CONFLICTS)
def test_what_it_does_not_know_is_left_as_it_is_and_shown_instead(name: str, tmp_path: Path):
    file = file_of(name, tmp_path)
    file.path.parent.mkdir(parents=True, exist_ok=True)
    file.path.write_text(CONFLICTS[name], "utf-8")
    ok, said = ran(name, tmp_path)
    assert not ok
    assert f"{file.path} was not changed: " in said
    assert "Add this by hand" in said
    assert file.path.read_text("utf-8") == CONFLICTS[name]
    assert [entry.name for entry in file.path.parent.iterdir()] == [file.path.name]


@pytest.mark.parametrize("name", ["codex", "opencode", "vscode"])
def test_its_own_entry_follows_another_model(name: str, tmp_path: Path):
    ran(name, tmp_path)
    ok, _ = ran(name, tmp_path, Target("http://localhost:9000", ["other"]))
    text = file_of(name, tmp_path).path.read_text("utf-8")
    assert ok
    assert "http://localhost:9000/v1" in text
    assert "http://localhost:8000" not in text


def test_a_link_stays_a_link(tmp_path: Path):
    real = tmp_path / "dotfiles" / "aider.yml"
    real.parent.mkdir()
    real.write_text("dark-mode: true\n")
    (tmp_path / ".aider.conf.yml").symlink_to(real)
    assert ran("aider", tmp_path)[0]
    assert (tmp_path / ".aider.conf.yml").is_symlink()
    assert yaml.safe_load(real.read_text())["openai-api-base"] == "http://localhost:8000/v1"


def test_a_second_change_keeps_the_first_backup(tmp_path: Path):
    path = tmp_path / "settings.json"
    path.write_text('{"a": 1}')
    first = write(ConfigFile(path, "json", {"b": 2}))
    second = write(ConfigFile(path, "json", {"c": 3}))
    assert (first, second) == (tmp_path / "settings.json.before-mimic-1", tmp_path / "settings.json.before-mimic-2")
    assert json.loads(path.read_text()) == {"a": 1, "b": 2, "c": 3}


def test_a_folder_that_cannot_be_made_is_reported(tmp_path: Path):
    (tmp_path / ".claude").write_text("a file, where the folder should be")
    ok, said = ran("claude", tmp_path)
    assert not ok
    assert "was not changed" in said


scalars = st.none() | st.booleans() | st.integers() | st.text(max_size=8)
documents = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3)
)


@given(documents, st.sampled_from(WITH_FILES))
def test_any_document_keeps_all_that_it_had_or_is_refused(document: object, name: str):
    file = file_of(name, Path("/home"))
    if file.form == "own":
        return
    before = json.dumps(document) if file.form == "json" else yaml.safe_dump(document, allow_unicode=True)
    try:
        text = added(file, before)
    except CannotAdd:
        return
    was = parsed(file, before)
    if was not in (None, {}, []):
        assert holds(parsed(file, text), was)


@pytest.mark.parametrize("before", ["{", '{"a": 1, "a": 2}', "[1,]"])
def test_json_that_a_parser_would_not_give_back_is_refused(before: str):
    with pytest.raises(CannotAdd, match="not plain JSON"):
        added(ConfigFile(Path("x"), "json", {"b": 1}), before)


# The running Mimic


class Models(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        given = self.headers["authorization"]
        status, body = self.server.answer(given)  # type: ignore[attr-defined]
        self.send_response(status)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Nothing on the test's output."""


@pytest.fixture
def server() -> Iterator[http.server.ThreadingHTTPServer]:
    made = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Models)
    thread = threading.Thread(target=made.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield made
    finally:
        made.shutdown()
        thread.join()
        made.server_close()


def offering(*names: str) -> bytes:
    return json.dumps({"data": [{"id": name} for name in names]}).encode()


def test_models_of_other_calls_are_left_out(server: http.server.ThreadingHTTPServer):
    names = ("gpt", "text-embedding-3", "whisper-1", "tts-1", "omni-moderation-latest", "dall-e-3")
    server.answer = lambda given: (200, offering(*names))  # type: ignore[attr-defined]
    assert listed(f"http://127.0.0.1:{server.server_port}", "") == ["gpt"]


def test_a_client_key_is_sent_and_asked_for(server: http.server.ThreadingHTTPServer):
    server.answer = lambda given: (200, offering("gpt")) if given == "Bearer k" else (401, b"{}")  # type: ignore[attr-defined]
    base = f"http://127.0.0.1:{server.server_port}"
    assert listed(base, "k") == ["gpt"]
    with pytest.raises(NoModels, match="set CONNECT_KEY"):
        listed(base, "")


@pytest.mark.parametrize("body", [b"", b"[]", b'{"data": []}', b'{"data": [{}]}', b"\xff"])
def test_a_server_that_lists_no_models_is_reported(server: http.server.ThreadingHTTPServer, body: bytes):
    server.answer = lambda given: (200, body)  # type: ignore[attr-defined]
    with pytest.raises(NoModels, match="lists no models"):
        listed(f"http://127.0.0.1:{server.server_port}", "")


def test_no_server_is_reported():
    with pytest.raises(NoModels, match="No Mimic answers"):
        listed("http://127.0.0.1:9", "")


def test_a_program_beside_it_finds_it_by_its_environment():
    found = environment("http://127.0.0.1:1234", "any")
    assert found["OPENAI_BASE_URL"] == found["OPENAI_API_BASE"] == "http://127.0.0.1:1234/v1"
    assert (found["ANTHROPIC_BASE_URL"], found["OPENAI_API_KEY"]) == ("http://127.0.0.1:1234", "any")


def test_codex_gets_its_base_url_by_options():
    found = arguments(["/usr/bin/codex", "exec", "Hello"], "http://127.0.0.1:1234")
    assert (found[0], found[-2:]) == ("/usr/bin/codex", ["exec", "Hello"])
    options = dict(option.split("=", 1) for option in found[2:6:2])
    provider = tomllib.loads(f"p = {options['model_providers.mimic']}")["p"]
    assert provider["base_url"] == "http://127.0.0.1:1234/v1"
    assert arguments(["aider"], "http://127.0.0.1:1234") == ["aider"]
