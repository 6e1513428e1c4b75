"""Decides what the environment of an application's container becomes: where the API is, and no HTTP proxy before it."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from mimic_operator.resource.spec import InjectedEnv
from mimic_operator.webhook.outcomes import Note, note
from mimic_operator.webhook.pods import Container

PLACEHOLDER_KEY = "mimic"
"""SDKs insist on a key; the proxy takes any, unless it is a shared one that knows its callers."""
LOOPBACK = ("127.0.0.1", "localhost", "::1")
PROXY_VARIABLES = frozenset({"HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"})
NO_PROXY = ("NO_PROXY", "no_proxy")
INHERITED = ("$(NO_PROXY)", "$(no_proxy)")
"""What envFrom may hold: the kubelet replaces a reference that it knows, and leaves another as it is."""
Entry = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Environment:
    """What a pod's containers get, the same for each.

    key: Secret and key in it that hold the caller's key, where a shared proxy wants one. hosts: must not be called
    through an HTTP proxy.
    """

    env: InjectedEnv
    url: str
    key: tuple[str, str] | None
    hosts: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Change:
    """env: of one container, as it becomes; what it was if nothing changes."""

    env: Sequence[Entry]
    notes: tuple[Note, ...] = ()


def lacks_key(container: Container, wanted: Environment) -> bool:
    """Whether the container would get a key from us."""
    present = {entry["name"] for entry in container.get("env") or ()}
    names = [name for name in wanted.env.names if _is_key(name)]
    return wanted.env.mode != "None" and (wanted.env.mode == "Always" or any(name not in present for name in names))


def change(container: Container, wanted: Environment) -> Change:
    """The environment with what it lacks. Entries that the user has set stay as they are, unless the mode is Always;
    NO_PROXY keeps what it holds. A second time nothing changes.
    """
    env: list[Entry] = list(container.get("env") or ())
    if wanted.env.mode == "None":
        return Change(env)
    present = {entry["name"]: position for position, entry in enumerate(env)}
    kept: list[str] = []
    before = len(env)
    for entry in _entries(wanted):
        position = present.get(entry["name"])
        if position is None:
            env.append(entry)
        elif env[position] != entry and wanted.env.mode == "Always":
            env[position] = entry
        elif env[position] != entry:
            kept.append(entry["name"])
    notes = list(_of_kept(container, wanted, kept))
    if container.get("envFrom") and len(env) > before:
        names = ", ".join(entry["name"] for entry in env[before:])
        notes.append(note("EnvFrom", container=container["name"], names=names))
    notes.extend(_extend_no_proxy(container, wanted, env))
    return Change(env, tuple(notes))


def _entries(wanted: Environment) -> Iterator[Entry]:
    for name in wanted.env.names:
        if not _is_key(name):
            yield {"name": name, "value": wanted.url}
        elif wanted.key is None:
            yield {"name": name, "value": PLACEHOLDER_KEY}
        else:
            secret, key = wanted.key
            yield {"name": name, "valueFrom": {"secretKeyRef": {"name": secret, "key": key}}}
    for extra in wanted.env.extra:
        if extra.name not in wanted.env.names:
            yield {"name": extra.name, "value": extra.value}


def _is_key(name: str) -> bool:
    return name.endswith("_KEY")


def _of_kept(container: Container, wanted: Environment, kept: Sequence[str]) -> Iterator[Note]:
    """A base URL of the application's own is worth a warning: its calls pass by the proxy."""
    urls = [name for name in kept if name in wanted.env.names and not _is_key(name)]
    others = [name for name in kept if name not in urls]
    if urls:
        yield note("OwnBaseUrl", container=container["name"], names=", ".join(urls))
    if others:
        yield note("EnvKept", container=container["name"], names=", ".join(others))


def _extend_no_proxy(container: Container, wanted: Environment, env: list[Entry]) -> Iterator[Note]:
    """Extends both spellings in place: programs differ in which they read, and one that is set may hide the other.

    envFrom may hold an HTTP proxy that is not visible here, and a NO_PROXY that must stay in force.
    """
    hidden = bool(container.get("envFrom"))
    if not hidden and not any(entry["name"].upper() in PROXY_VARIABLES for entry in env):
        return
    hosts, name = ", ".join(wanted.hosts), container["name"]
    found = [position for position, entry in enumerate(env) if entry["name"] in NO_PROXY]
    changed = False
    for position in found:
        if "valueFrom" in env[position]:
            yield note("NoProxyUnknown", container=name, variable=env[position]["name"], hosts=hosts)
        elif (longer := _extended(env[position].get("value") or "", wanted.hosts)) is not None:
            env[position] = {**env[position], "value": longer}
            changed = True
    if not found:
        inherited = INHERITED if hidden else ()
        env.extend({"name": spelling, "value": ",".join((*inherited, *wanted.hosts))} for spelling in NO_PROXY)
        changed = True
    if changed:
        yield note("NoProxyExtended", container=name, hosts=hosts)


def _extended(value: str, hosts: Sequence[str]) -> str | None:
    """The list with what is missing of `hosts` at its end; None if nothing is."""
    given = [part.strip() for part in value.split(",") if part.strip()]
    missing = [host for host in hosts if host not in given]
    return None if "*" in given or not missing else ",".join([*given, *missing])
