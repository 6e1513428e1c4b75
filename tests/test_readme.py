"""What README and docs say is true: settings, error codes, links, and the examples against a running demo."""

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import MISSING, fields
from pathlib import Path

import pytest

from conformance.demo_process import demo
from mimic_proxy import errors
from mimic_proxy.settings.fields import Settings, load

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text("utf-8")
PAGES = (
    ROOT / "README.md",
    ROOT / "examples" / "README.md",
    ROOT / "examples" / "kubernetes" / "README.md",
    ROOT / "helm" / "mimic" / "README.md",
    *sorted((ROOT / "docs").glob("*.md")),
)
SHOWN_URL = "http://localhost:8000/v1"


def section(title: str) -> str:
    """The text of one chapter of the README."""
    return README.split(f"\n## {title}\n", 1)[1].split("\n## ", 1)[0]


def blocks(language: str) -> list[str]:
    """The fenced blocks of a language, in order."""
    return re.findall(rf"^```{language}\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)


def default_of(setting: str) -> str:
    """How the README writes the default of a setting."""
    default = next(entry.default for entry in fields(Settings) if entry.name == setting)
    if default is MISSING:
        return "required"
    if default is None or default == ():
        return "-"
    if isinstance(default, tuple):
        return f"`{','.join(default)}`"
    return f"`{default:g}`" if isinstance(default, float) else f"`{default}`"


def error_classes(parent: type[errors.MimicError] = errors.MimicError) -> Iterator[type[errors.MimicError]]:
    """The classes that are answered with: those that no other is made from, and the root itself."""
    for child in parent.__subclasses__():
        yield from error_classes(child)
    if parent is errors.MimicError or not parent.__subclasses__():
        yield parent


def codes() -> dict[str, int]:
    """Every code that Mimic answers, with its status."""
    found = {kind.code: kind.status for kind in error_classes() if kind is not errors.Forbidden}
    # Of this class each error brings a code of its own.
    sources = "".join(file.read_text("utf-8") for file in (ROOT / "service" / "mimic_proxy").rglob("*.py"))
    forbidden = re.findall(r'\bForbidden\([^)]*code="([a-z_]+)"', sources)
    return found | dict.fromkeys(forbidden, errors.Forbidden.status)


def table_codes(text: str) -> dict[str, int]:
    """The rows `| code | status | ...` of all tables."""
    return {code: int(status) for code, status in re.findall(r"^\| `([a-z_]+)` \| (\d{3}) \|", text, re.MULTILINE)}


def test_the_readme_tells_true_defaults_of_what_most_people_set() -> None:
    rows = re.findall(r"^\| `([A-Z_]+)` \| .+ \| (.+) \|$", section("Settings"), re.MULTILINE)
    expected = {entry.name.upper(): default_of(entry.name) for entry in fields(Settings) if entry.name != "warnings"}
    assert dict(rows).items() <= expected.items()
    assert len(rows) == len(dict(rows))
    seven = ("TOKEN_URL", "CHAT_API_URL", "EMBEDDING_API_URL", "AUTH_CODE", "VERIFY_SSL", "PORT", "LOG_LEVEL")
    assert {*seven, "GRANT", "PRESET", "DIALECT"} <= dict(rows).keys()


def test_every_error_code_stands_in_readme_and_error_page_with_its_status() -> None:
    assert table_codes(section("Errors")) == codes()
    assert table_codes((ROOT / "docs" / "errors.md").read_text("utf-8")) == codes()


def test_the_settings_of_the_envelope_stand_on_their_page_with_their_defaults() -> None:
    page = (ROOT / "docs" / "dialects.md").read_text("utf-8")
    rows = re.findall(r"^\| `(ENVELOPE_[A-Z_]+)` \| .+ \| (.+) \|$", page, re.MULTILINE)
    names = [entry.name for entry in fields(Settings) if entry.name.startswith("envelope_")]
    assert dict(rows) == {name.upper(): default_of(name) for name in names}
    assert len(rows) == len(names)


def test_the_seven_variables_make_valid_settings(tmp_path: Path) -> None:
    (block,) = (block for block in blocks("sh") if block.startswith("TOKEN_URL="))
    dotenv = tmp_path / ".env"
    dotenv.write_text(block)
    settings = load({}, dotenv)
    assert len(block.splitlines()) == 7
    assert settings.warnings == ()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_inside_the_repository_lead_somewhere(page: Path) -> None:
    for link in re.findall(r"\]\(([^)#]+)\)", page.read_text("utf-8")):
        assert "://" in link or (page.parent / link).exists(), link


def test_the_contents_of_the_readme_lead_to_its_chapters() -> None:
    chapters = {title.lower().replace(" ", "-") for title in re.findall(r"^## (.+)$", README, re.MULTILINE)}
    assert set(re.findall(r"\]\(#([^)]+)\)", README)) <= chapters


@pytest.fixture(scope="module")
def base_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The base URL of a demo."""
    with demo(tmp_path_factory.mktemp("readme")) as found:
        yield found


@pytest.mark.parametrize("code", blocks("python"), ids=["chat", "stream", "tool", "embeddings"])
def test_the_python_examples_run_as_they_stand_and_print_something(base_url: str, code: str) -> None:
    assert SHOWN_URL in code
    argv = [sys.executable, "-c", code.replace(SHOWN_URL, base_url)]
    ran = subprocess.run(argv, capture_output=True, text=True, timeout=30, check=False)
    assert (ran.returncode, ran.stderr) == (0, "")
    assert ran.stdout.strip()


def test_what_the_comments_of_the_tool_example_promise_is_printed(base_url: str) -> None:
    code = next(block for block in blocks("python") if "tools=" in block)
    ran = subprocess.run(
        [sys.executable, "-c", code.replace(SHOWN_URL, base_url)],
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    )
    assert ran.stdout.splitlines()[0] == "get_weather {'city': 'Paris'}"


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_the_curl_command_streams_to_its_end(base_url: str) -> None:
    (command,) = (block for block in blocks("sh") if block.startswith("curl -N"))
    argv = ["sh", "-c", command.replace(SHOWN_URL, base_url)]
    ran = subprocess.run(argv, capture_output=True, text=True, timeout=30, check=True)
    assert ran.stdout.startswith("data: {")
    assert ran.stdout.endswith("data: [DONE]\n\n")
