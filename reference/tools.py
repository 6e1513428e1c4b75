"""docs/tools: a page for each tool that `mimic-proxy connect` knows, with what it shows for a Mimic on port 8000."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from mimic_proxy.cli.config_files import added
from mimic_proxy.cli.tools import TOOLS, Target

TARGET = Target("http://localhost:8000", ["chat-small"])
MADE = "Written by `make reference` from `mimic_proxy/cli/tools.py` and `reference/tools.py`; change it there."
LANGUAGES = {".json": "json", ".toml": "toml", ".yaml": "yaml", ".yml": "yaml"}


@dataclass(frozen=True, slots=True)
class Trial:
    """tried: with which version, and what. beside: a command for `mimic-proxy run`, where that serves."""

    tried: str
    beside: str = ""
    notes: tuple[str, ...] = ()


NOT_TRIED = "Not tried here; the form is that of its documentation."
DEMO = "one prompt through `mimic-proxy demo`"
TRIALS: Mapping[str, Trial] = {
    "aider": Trial(
        f"aider 0.86.2: {DEMO}, answered.",
        "aider --model openai/chat-small",
        ("aider wants the prefix `openai/` before the model's name; it is not sent.",),
    ),
    "ai-sdk": Trial(f"ai 6.0.326 with @ai-sdk/openai-compatible 2.0.92: {DEMO}, by these lines.", "node example.mjs"),
    "claude": Trial(
        "Claude Code 2.1.197 starts without its vendor's login when these variables are set. It calls `/v1/messages`: "
        "the backend has to offer that route.",
        "claude",
        ("A variable that the file sets already, such as another ANTHROPIC_BASE_URL, is left as it is and reported.",),
    ),
    "codex": Trial(
        f"Codex 0.171.0: {DEMO}, with a tool call, by the profile and by `run`.",
        'codex exec "Say hello"',
        (
            "Codex calls `/v1/responses` alone: the backend has to offer that route.",
            "Its built-in provider reads no OPENAI_BASE_URL; `run` gives it the provider as options.",
        ),
    ),
    "continue": Trial(f"Continue CLI 1.5.47: {DEMO}, with a tool call.", "cn"),
    "langchain": Trial(
        "langchain-openai 1.7.3, in `make conformance`: chat, streams, tools, embeddings.", "python example.py"
    ),
    "llamaindex": Trial(
        "llama-index-llms-openai-like 0.8.1, in `make conformance`: chat, streams, tools.", "python example.py"
    ),
    "llm": Trial(
        f"llm 0.36: {DEMO}, answered.",
        "",
        ("llm reads its base URLs from the file alone, so `mimic-proxy run` does not reach it.",),
    ),
    "open-webui": Trial(
        NOT_TRIED,
        "open-webui serve",
        (
            "In a container `localhost` is the container: let Mimic listen on another address (`HOST`), with client "
            "keys, and use `http://host.docker.internal:8000/v1`.",
        ),
    ),
    "opencode": Trial(f"opencode 1.18.33: {DEMO}, with a tool call."),
    "vscode": Trial(
        NOT_TRIED,
        "",
        (
            "The provider is called Custom Endpoint. The command Chat: Manage Language Models adds it too, and then "
            "VS Code keeps the key in its own store.",
            "The numbers of tokens are guesses: put those of your model there.",
        ),
    ),
}


def pages() -> dict[str, str]:
    """Text by file name."""
    return {"README.md": _index(), **{f"{name}.md": _page(name) for name in TOOLS}}


def _index() -> str:
    rows = [f"| [{tool.title}]({name}.md) | `mimic-proxy connect {name}` |" for name, tool in sorted(TOOLS.items())]
    return f"""# Tools

{MADE}

Anything that takes a base URL and an API key calls Mimic: `http://localhost:8000/v1`, and any key where `CLIENT_KEYS`
is not set. For these tools `mimic-proxy connect` knows the form of their configuration. It shows it; with `--write` it
adds it to the tool's own file, keeps a copy of the file as it was, and leaves alone what it does not know.

| tool | command |
| --- | --- |
{chr(10).join(rows)}

`mimic-proxy run -- COMMAND` starts a command with a Mimic of its own beside it, which ends with the command. It sets
`OPENAI_BASE_URL`, `OPENAI_API_BASE`, `OPENAI_API_BASE_URL`, `OPENAI_API_KEY`, `ANTHROPIC_BASE_URL` and
`ANTHROPIC_AUTH_TOKEN`.

    mimic-proxy run -- python my_agent.py
    mimic-proxy run --log mimic.log -- codex exec "Explain this repository"

The models come from the running Mimic. `--model NAME` chooses another than the first, `--url URL` another Mimic than
the one on `PORT` of this machine. Where it asks for client keys, `CONNECT_KEY` holds one of them.
"""


def _page(name: str) -> str:
    tool, trial = TOOLS[name], TRIALS[name]
    title = tool.title[0].upper() + tool.title[1:]
    parts = [f"# {title}\n\n{MADE}\n"]
    if tool.file is None:
        language = "ts" if name == "ai-sdk" else "sh" if name == "open-webui" else "python"
        parts.append(f"```{language}\n{tool.start(TARGET)}\n```\n")
    else:
        file = tool.file(TARGET, {}, Path("~"))
        parts.append(f"    mimic-proxy connect {name} --write\n")
        language = LANGUAGES[file.path.suffix]
        parts.append(f"adds this to `{file.path}`:\n\n```{language}\n{added(file, None)}```\n")
        parts.append(f"Then:\n\n    {tool.start(TARGET)}\n")
    if trial.beside:
        parts.append(f"With a Mimic of its own beside it:\n\n    mimic-proxy run -- {trial.beside}\n")
    if trial.notes:
        parts.append("\n".join(f"- {note}" for note in trial.notes) + "\n")
    parts.append(f"Tried: {trial.tried}\n")
    return "\n".join(parts)
