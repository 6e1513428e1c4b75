"""What the application's containers are told: where the API is, and that no HTTP proxy stands before it."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mimic_operator.resource.spec import InjectedEnv
from mimic_operator.webhook.outcomes import REMARKS
from mimic_operator.webhook.pods import Container

PLACEHOLDER_KEY = "mimic"
"""SDKs insist on a key; the proxy takes any, unless it is a shared one that knows its callers."""
LOOPBACK = ("127.0.0.1", "localhost", "::1")
PROXY_VARIABLES = frozenset({"HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"})
NO_PROXY = ("NO_PROXY", "no_proxy")
Entry = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Remarked:
    """A remark of outcomes.REMARKS, filled in."""

    word: str
    told: bool
    sentence: str


def remark(word: str, **names: object) -> Remarked:
    kind = REMARKS[word]
    return Remarked(word, kind.told, kind.sentence.format_map({key: str(value) for key, value in names.items()}))


@dataclass(frozen=True, slots=True)
class Told:
    """What containers are told, the same for each of a pod.

    key: Secret and key in it that hold the caller's key, where a shared proxy wants one. hosts: what must not go
    through an HTTP proxy.
    """

    env: InjectedEnv
    url: str
    key: tuple[str, str] | None
    hosts: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Change:
    """To the environment of one container. replaced: by the position of the entry."""

    replaced: Mapping[int, Entry]
    added: Sequence[Entry]
    remarks: tuple[Remarked, ...]


def lacks_key(container: Container, told: Told) -> bool:
    """Whether the container would get a key from us."""
    present = {entry["name"] for entry in container.get("env") or ()}
    names = [name for name in told.env.names if _is_key(name)]
    return told.env.mode != "None" and (told.env.mode == "Always" or any(name not in present for name in names))


def change(container: Container, told: Told) -> Change:
    """What is to be changed; nothing if it was changed before. Entries that the user has set stay as they are,
    unless `Always` was asked for, and NO_PROXY, which keeps what it holds.
    """
    if told.env.mode == "None":
        return Change({}, (), ())
    present = {entry["name"]: position for position, entry in enumerate(container.get("env") or ())}
    replaced: dict[int, Entry] = {}
    added: list[Entry] = []
    kept: list[str] = []
    for entry in _wanted(told):
        position = present.get(entry["name"])
        if position is None:
            added.append(entry)
        elif container["env"][position] != entry:
            if told.env.mode == "Always":
                replaced[position] = entry
            else:
                kept.append(entry["name"])
    remarks = []
    if kept:
        remarks.append(remark("EnvKept", container=container["name"], names=", ".join(kept)))
    if container.get("envFrom") and added:
        names = ", ".join(entry["name"] for entry in added)
        remarks.append(remark("EnvFrom", container=container["name"], names=names))
    remarks.extend(_extend_no_proxy(container, told, replaced, added))
    return Change(replaced, added, tuple(remarks))


def _wanted(told: Told) -> Iterator[Entry]:
    for name in told.env.names:
        if not _is_key(name):
            yield {"name": name, "value": told.url}
        elif told.key is None:
            yield {"name": name, "value": PLACEHOLDER_KEY}
        else:
            secret, key = told.key
            yield {"name": name, "valueFrom": {"secretKeyRef": {"name": secret, "key": key}}}
    for extra in told.env.extra:
        if extra.name not in told.env.names:
            yield {"name": extra.name, "value": extra.value}


def _is_key(name: str) -> bool:
    return name.endswith("_KEY")


def _extend_no_proxy(
    container: Container, told: Told, replaced: dict[int, Entry], added: list[Entry]
) -> Iterator[Remarked]:
    """Both spellings: programs differ in which they read, and one that is set may hide the other.

    replaced, added: what is changed besides, which is extended as well.
    """
    env = [replaced.get(position, entry) for position, entry in enumerate(container.get("env") or ())]
    after = [*env, *added]
    if not any(entry["name"].upper() in PROXY_VARIABLES for entry in after):
        return
    hosts, name = ", ".join(told.hosts), container["name"]
    found = [position for position, entry in enumerate(after) if entry["name"] in NO_PROXY]
    unknown = [position for position in found if _is_opaque(after[position])]
    hidden = not found and bool(container.get("envFrom"))
    if unknown or hidden:
        origin = "envFrom" if hidden else "valueFrom or another variable"
        yield remark("NoProxyUnknown", container=name, origin=origin, hosts=hosts)
    longer = {
        position: {**after[position], "value": value}
        for position in found
        if position not in unknown and (value := _extended(after[position].get("value") or "", told.hosts)) is not None
    }
    for position, entry in longer.items():
        if position < len(env):
            replaced[position] = entry
        else:
            added[position - len(env)] = entry
    if not found and not hidden:
        added.extend({"name": spelling, "value": ",".join(told.hosts)} for spelling in NO_PROXY)
    if longer or not (found or hidden):
        yield remark("NoProxyExtended", container=name, hosts=hosts)


def _is_opaque(entry: Entry) -> bool:
    """Whether nobody but the kubelet knows the value."""
    return "valueFrom" in entry or "$(" in (entry.get("value") or "")


def _extended(value: str, hosts: Sequence[str]) -> str | None:
    """The list with what is missing of `hosts` at its end; None if nothing is."""
    given = [part.strip() for part in value.split(",") if part.strip()]
    missing = [host for host in hosts if host not in given]
    return None if "*" in given or not missing else ",".join([*given, *missing])
