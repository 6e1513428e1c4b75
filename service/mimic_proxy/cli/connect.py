"""`mimic-proxy connect TOOL`: shows, or with --write adds, what a tool needs to call the running Mimic."""

import http.client
import json
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

from mimic_proxy.cli.command import DOTENV, Say, say
from mimic_proxy.cli.config_files import CannotAdd, added, write
from mimic_proxy.cli.tools import TOOLS, Target
from mimic_proxy.settings.fields import SettingsError, load_port
from mimic_proxy.settings.sources import Problem

CALL_SECONDS = 10.0
NO_CHAT = re.compile(r"embed|rerank|moderation|whisper|transcri|tts|dall-e|image|sora", re.IGNORECASE)
"""Models of other calls, by the names that they usually have. `/v1/models` does not tell what a model is for."""
PLACEHOLDER = "YOUR_CLIENT_KEY"


class NoModels(Exception):
    """The running Mimic did not list its models; the message says why."""


def run(environ: Mapping[str, str]) -> bool:
    """The command. CONNECT_TOOL, CONNECT_MODEL, CONNECT_URL and CONNECT_WRITE are its options."""
    base = environ.get("CONNECT_URL") or f"http://localhost:{load_port('PORT', environ, DOTENV)}"
    if urlsplit(base).scheme not in ("http", "https") or not urlsplit(base).netloc:
        raise SettingsError([Problem("CONNECT_URL", f"{base} is not a URL such as http://localhost:8000")])
    base = base.rstrip("/").removesuffix("/v1")
    key = environ.get("CONNECT_KEY", "")
    wanted = environ.get("CONNECT_MODEL", "")
    try:
        models = listed(base, key)
    except NoModels as error:
        if not wanted:
            say(f"{error} With --model NAME the configuration is made without asking.")
            return False
        models = [wanted]
    if wanted:
        models = [wanted, *(model for model in models if model != wanted)]
    target = Target(base, models, key or "any")
    return connect(
        environ["CONNECT_TOOL"], target, environ, Path.home(), writes=bool(environ.get("CONNECT_WRITE")), say=say
    )


def listed(base: str, key: str) -> list[str]:
    """Names of the chat models that a Mimic offers. Raises NoModels."""
    url = urlsplit(f"{base}/v1/models")
    kind = http.client.HTTPSConnection if url.scheme == "https" else http.client.HTTPConnection
    connection = kind(url.netloc, timeout=CALL_SECONDS)
    try:
        connection.request("GET", url.path, headers={"authorization": f"Bearer {key or 'any'}"})
        response = connection.getresponse()
        body = response.read(1048576)
    except (OSError, http.client.HTTPException) as error:
        raise NoModels(
            f"No Mimic answers at {base} ({error}). Start it (`mimic-proxy serve`), or name it with --url."
        ) from None
    finally:
        connection.close()
    if response.status == 401:
        raise NoModels(f"The Mimic at {base} asks for a client key: set CONNECT_KEY to one of its CLIENT_KEYS.")
    try:
        found = [str(entry["id"]) for entry in json.loads(body)["data"]]
    except (ValueError, KeyError, TypeError):
        found = []
    if not found:
        raise NoModels(f"The Mimic at {base} lists no models (status {response.status}).")
    return [name for name in found if not NO_CHAT.search(name)] or found


def connect(name: str, target: Target, environ: Mapping[str, str], home: Path, *, writes: bool, say: Say) -> bool:
    """Shows or writes a tool's configuration; True if it stands then. environ: may name the tool's own folders."""
    tool = TOOLS[name]
    if tool.file is None:
        if writes:
            say(f"{tool.title} has no configuration file; use these lines:\n")
        say(tool.start(_without_key(target)))
        return not writes
    file, hidden = tool.file(target, environ, home), tool.file(_without_key(target), environ, home)
    if not writes:
        say(f"# {file.path}\n{added(hidden, None)}\n# Then:\n{tool.start(target)}")
        return True
    try:
        before = file.path.exists()
        backup = write(file)
    except (CannotAdd, OSError) as error:
        say(f"{file.path} was not changed: {error}. Add this by hand:\n\n{added(hidden, None)}")
        return False
    if backup is not None:
        say(f"Changed {file.path}. The file as it was: {backup}")
    else:
        say(f"{file.path} has it already." if before else f"Wrote {file.path}.")
    say(f"Then: {tool.start(target)}")
    return True


def _without_key(target: Target) -> Target:
    """What is shown on a screen holds no key."""
    return target if target.key == "any" else replace(target, key=PLACEHOLDER)
