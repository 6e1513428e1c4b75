"""What each tool has to know to call a Mimic: its configuration as text, and how to start it. Pure.

A `Tool` is either configured by a file, which `connect --write` can write, or shown as lines to copy. The forms of the
files are those of the tools' own documentation; docs/tools names the version that each was tried with.
"""

import json
import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any, Literal

CONTEXT_TOKENS = 128_000
ANSWER_TOKENS = 16_000
"""VS Code wants to know both of a model; a backend does not tell them."""

Form = Literal["json", "yaml", "own"]


@dataclass(frozen=True, slots=True)
class Target:
    """The Mimic to call. base: `http://localhost:8000`, without a path. models: at least one; the first is the default.

    key: the client key, or any text where Mimic wants none.
    """

    base: str
    models: Sequence[str]
    key: str = "any"

    @property
    def api(self) -> str:
        return f"{self.base}/v1"

    @property
    def model(self) -> str:
        return self.models[0]


@dataclass(frozen=True, slots=True)
class ConfigFile:
    """A file of a tool's. form: how `content` comes into it.

    json, yaml: `content` is merged into the document that is there. own: the file is Mimic's alone; text as it is.
    """

    path: Path
    form: Form
    content: Any


@dataclass(frozen=True, slots=True)
class Tool:
    """title: its name in sentences. start: what to type then. file: for tools that have one."""

    title: str
    start: Callable[[Target], str]
    file: Callable[[Target, Mapping[str, str], Path], ConfigFile] | None = None


OWN_MARK = "# Written by `mimic-proxy connect`. It is replaced by the next call of that command."


def _home(environ: Mapping[str, str], variable: str, home: Path, default: str) -> Path:
    """The folder that a variable names, or the default one in the home folder."""
    return Path(environ[variable]) if environ.get(variable) else home / default


def _codex(target: Target, environ: Mapping[str, str], home: Path) -> ConfigFile:
    """A profile of its own, so that Codex's own configuration stays as it is."""
    lines = [
        OWN_MARK,
        f"model = {json.dumps(target.model)}",
        'model_provider = "mimic"',
        "",
        "[model_providers.mimic]",
        'name = "Mimic"',
        f"base_url = {json.dumps(target.api)}",
        'wire_api = "responses"',
    ]
    if target.key != "any":
        lines.append(f"experimental_bearer_token = {json.dumps(target.key)}")
    path = _home(environ, "CODEX_HOME", home, ".codex") / "mimic.config.toml"
    return ConfigFile(path, "own", "\n".join(lines) + "\n")


def _claude(target: Target, environ: Mapping[str, str], home: Path) -> ConfigFile:
    variables = {
        "ANTHROPIC_BASE_URL": target.base,
        "ANTHROPIC_AUTH_TOKEN": target.key,
        "ANTHROPIC_MODEL": target.model,
        "ANTHROPIC_DEFAULT_HAIKU_MODEL": target.model,
    }
    folder = _home(environ, "CLAUDE_CONFIG_DIR", home, ".claude")
    return ConfigFile(folder / "settings.json", "json", {"env": variables})


def _opencode(target: Target, environ: Mapping[str, str], home: Path) -> ConfigFile:
    provider = {
        "npm": "@ai-sdk/openai-compatible",
        "name": "Mimic",
        "options": {"baseURL": target.api, "apiKey": target.key},
        "models": {model: {"name": model} for model in target.models},
    }
    document = {
        "$schema": "https://opencode.ai/config.json",
        "provider": {"mimic": provider},
        "model": f"mimic/{target.model}",
    }
    folder = _home(environ, "XDG_CONFIG_HOME", home, ".config") / "opencode"
    path = Path(environ["OPENCODE_CONFIG"]) if environ.get("OPENCODE_CONFIG") else folder / "opencode.json"
    return ConfigFile(path, "json", document)


def _aider(target: Target, environ: Mapping[str, str], home: Path) -> ConfigFile:
    content = {"openai-api-base": target.api, "openai-api-key": target.key, "model": f"openai/{target.model}"}
    return ConfigFile(home / ".aider.conf.yml", "yaml", content)


def _continue(target: Target, environ: Mapping[str, str], home: Path) -> ConfigFile:
    models = [
        {
            "name": f"Mimic {model}",
            "provider": "openai",
            "model": model,
            "apiBase": target.api,
            "apiKey": target.key,
            "roles": ["chat", "edit", "apply"],
        }
        for model in target.models
    ]
    folder = _home(environ, "CONTINUE_GLOBAL_DIR", home, ".continue")
    return ConfigFile(
        folder / "config.yaml", "yaml", {"name": "Mimic", "version": "0.0.1", "schema": "v1", "models": models}
    )


def _llm(target: Target, environ: Mapping[str, str], home: Path) -> ConfigFile:
    entries = [
        {"model_id": f"mimic/{model}", "model_name": model, "api_base": target.api, "can_stream": True}
        | ({} if target.key == "any" else {"headers": {"authorization": f"Bearer {target.key}"}})
        for model in target.models
    ]
    folder = _home(environ, "LLM_USER_PATH", home, ".config/io.datasette.llm")
    return ConfigFile(folder / "extra-openai-models.yaml", "yaml", entries)


def _vscode(target: Target, environ: Mapping[str, str], home: Path) -> ConfigFile:
    models = [
        {
            "id": model,
            "name": model,
            "url": f"{target.api}/chat/completions",
            "toolCalling": True,
            "vision": False,
            "maxInputTokens": CONTEXT_TOKENS,
            "maxOutputTokens": ANSWER_TOKENS,
        }
        for model in target.models
    ]
    entry = {
        "name": "Mimic",
        "vendor": "customendpoint",
        "apiType": "chat-completions",
        "apiKey": target.key,
        "models": models,
    }
    folder = _home(environ, "XDG_CONFIG_HOME", home, ".config")
    return ConfigFile(folder / "Code" / "User" / "chatLanguageModels.json", "json", [entry])


def _open_webui(target: Target) -> str:
    variables = {"OPENAI_API_BASE_URL": target.api, "OPENAI_API_KEY": target.key}
    lines = [f"{name}={shlex.quote(value)} \\" for name, value in variables.items()]
    return "\n".join([*lines, "open-webui serve"])


def _langchain(target: Target) -> str:
    return f"""from langchain_openai import ChatOpenAI

model = ChatOpenAI(
    model={json.dumps(target.model)},
    base_url={json.dumps(target.api)},
    api_key={json.dumps(target.key)},
)
print(model.invoke("Hello!").content)"""


def _llamaindex(target: Target) -> str:
    return f"""from llama_index.llms.openai_like import OpenAILike

llm = OpenAILike(
    model={json.dumps(target.model)},
    api_base={json.dumps(target.api)},
    api_key={json.dumps(target.key)},
    is_chat_model=True,
    is_function_calling_model=True,
)
print(llm.complete("Hello!"))"""


def _ai_sdk(target: Target) -> str:
    return f"""import {{ createOpenAICompatible }} from "@ai-sdk/openai-compatible";
import {{ generateText }} from "ai";

const mimic = createOpenAICompatible({{
  name: "mimic",
  baseURL: {json.dumps(target.api)},
  apiKey: {json.dumps(target.key)},
}});
const {{ text }} = await generateText({{ model: mimic({json.dumps(target.model)}), prompt: "Hello!" }});
console.log(text);"""


TOOLS: Mapping[str, Tool] = {
    "aider": Tool("aider", lambda target: "aider", _aider),
    "ai-sdk": Tool("the AI SDK (TypeScript)", _ai_sdk),
    "claude": Tool("Claude Code", lambda target: "claude", _claude),
    "codex": Tool("Codex", lambda target: "codex --profile mimic", _codex),
    "continue": Tool(
        "Continue", lambda target: f'cn -p "Hello!"  # choose the model "Mimic {target.model}"', _continue
    ),
    "langchain": Tool("LangChain (Python)", _langchain),
    "llamaindex": Tool("LlamaIndex (Python)", _llamaindex),
    "llm": Tool("llm", lambda target: f"llm -m mimic/{target.model} 'Hello!'", _llm),
    "open-webui": Tool("Open WebUI", _open_webui),
    "opencode": Tool("opencode", lambda target: f"opencode --model mimic/{target.model}", _opencode),
    "vscode": Tool(
        "GitHub Copilot Chat in VS Code", lambda target: "# Choose a model of Mimic's in the model picker.", _vscode
    ),
}


def environment(base: str, key: str) -> dict[str, str]:
    """Variables by which SDKs and tools find a Mimic, for a program that is started beside it."""
    return {
        "OPENAI_BASE_URL": f"{base}/v1",
        "OPENAI_API_BASE": f"{base}/v1",
        "OPENAI_API_BASE_URL": f"{base}/v1",
        "OPENAI_API_KEY": key,
        "ANTHROPIC_BASE_URL": base,
        "ANTHROPIC_AUTH_TOKEN": key,
    }


def arguments(words: Sequence[str], base: str) -> list[str]:
    """A command with what its program needs besides the environment: Codex reads its base URL from options alone."""
    if words and PurePath(words[0]).stem == "codex":
        provider = f'model_providers.mimic={{name="Mimic",base_url="{base}/v1",wire_api="responses"}}'
        return [words[0], "-c", 'model_provider="mimic"', "-c", provider, *words[1:]]
    return list(words)
