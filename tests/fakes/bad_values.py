"""For each field of a MimicBackend, values that it cannot have or just still can: made from the declarations."""

from collections.abc import Iterator
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

from fakes.bad_backends import good
from mimic_operator.resource.fields import (
    Duration,
    Flag,
    Foreign,
    IntOrPercent,
    Items,
    Kind,
    OneOf,
    Quantity,
    Ratio,
    Section,
    Table,
    Text,
    Whole,
    declared,
    key_of,
)
from mimic_operator.resource.spec import Spec

Path = tuple[str | int, ...]
TEXTS = ["", " a", "a b", "a\r\nX: y", "\x00", "\u00fc", "\U0001f600", "a/b", "..", "/a~2", "{}", "$(X)", "#", "-a"]
AMOUNTS = ["lots", "", "-1", -1, 1.5, True, "1 Gi", "1e3", "0x10", ".5", "9" * 40, "1Ei"]
DURATIONS = [5, "", "5", "-1s", "1e9h", "+5s", "1d", "5S", "0s", "1.5.5s", "5s\n", "999999999h", "10m", "0.001ms"]
EXCHANGE = {"grant": "TokenExchange"}
SCALING = {"maxReplicas": 3, "targetCPUUtilization": 50}
NEEDED: dict[Path, Any] = {
    ("auth", "serviceAccountToken"): {"audience": "https://a"},
    ("auth", "tokenStore"): {"claimName": "a"},
    ("tls", "caBundleFrom"): {"configMapKeyRef": {"name": "a", "key": "b"}},
    ("deployment", "autoscaling"): SCALING,
    ("injection", "env", "extra", 0): {"name": "B"},
    ("proxy", "env", 0): {"name": "B"},
}
"""What a section has to hold besides the field that is tried."""
BESIDES: dict[Path, dict[str, Any]] = {
    ("dialect",): {"embedding": {"url": "https://a"}, "dialect": {"type": "Envelope"}},
    ("auth", "serviceAccountToken"): {"auth": EXCHANGE},
    ("auth", "recipe", "subjectTokenType"): {"auth": EXCHANGE},
    ("auth", "recipe", "requestedTokenType"): {"auth": EXCHANGE},
    ("auth", "recipe", "assertion"): {"auth": {"grant": "PrivateKeyJwt"}},
    ("auth", "tokenStore"): {
        "mode": "Deployment",
        "deployment": {"access": "Open", "replicas": 1},
        "auth": {"grant": "RefreshToken", "singleUse": True},
    },
    ("deployment", "networkPolicy"): {"deployment": {"access": "Open", "networkPolicy": {"enabled": True}}},
    ("deployment", "allowedNamespaces", "selector"): {
        "deployment": {"access": "Open", "allowedNamespaces": {"from": "Selector", "selector": {}}}
    },
}
"""What a field needs elsewhere."""


@dataclass(frozen=True, slots=True)
class Tried:
    what: str
    manifest: dict[str, Any]


def tried() -> Iterator[Tried]:
    """Some thousand; which of them are right is for the judges to say, who have to agree."""
    for path, kind in _fields(Spec, ()):
        for value in [None, *_values(kind)]:
            yield Tried(f"{'.'.join(map(str, path))} = {repr(value)[:40]}", _with(path, value))


def _fields(section: type[Any], path: Path) -> Iterator[tuple[Path, Kind]]:
    for entry, kind in declared(section):
        below = (*path, key_of(entry.name))
        yield below, kind
        match kind:
            case Section():
                yield from _fields(kind.of, below)
            case Items(of=Section(of=inner)):
                yield from _fields(inner, (*below, 0))
            case Items():
                yield (*below, 0), kind.of
            case Table():
                yield (*below, "a"), kind.of
            case _:
                pass


def _values(kind: Kind) -> Iterator[Any]:
    match kind:
        case Text():
            yield from [5, True, [], {}, *TEXTS, "a" * kind.most, "a" * (kind.most + 1)]
        case OneOf() | Flag():
            yield from [5, "", "nonsense", "true", {}, *(word.swapcase() for word in getattr(kind, "words", ()))]
        case Whole():
            yield from ["5", 1.5, True, kind.least - 1, kind.least, kind.most, kind.most + 1, 2**63, -(2**63)]
        case Ratio():
            yield from [0.5, "", "-0.1", "1.1", True, 0, "0", "1", "0.5", ".5", "1e-1", "0.1234567890"]
        case IntOrPercent():
            yield from [1.5, "1", -1, 0, kind.most, kind.most + 1, "0%", "100%", "101%", "-1%", "5 %", True, "%"]
        case Duration():
            yield from DURATIONS
        case Quantity():
            yield from AMOUNTS
        case Items():
            yield from ["a", {}, [None], [[]], [f"a{number}" for number in range(kind.most + 1)]]
        case Table():
            keys = ("a b", "a\n", "\u00fc", "a/b/c", "x" * 400, "Host", "a..b/c")
            yield from ["a", [], {"a": 5}, {"": "b"}, {"a": None}, *({key: "a"} for key in keys)]
            yield {f"a{number}": "b" for number in range(kind.most + 1)}
        case Foreign():
            yield from ["a", [], 5, {}, *(dict.fromkeys(kind.texts, text) for text in ("a", 5, "mimic-proxy"))]
        case Section():
            yield from ["a", [], True, {}]
        case _:
            raise AssertionError(f"no values for {kind}")


def _with(path: Path, value: Any) -> dict[str, Any]:
    manifest = good("deployment" if path[0] == "deployment" else "sidecar")
    spec: dict[str, Any] = manifest["spec"]
    for place, wanted in BESIDES.items():
        if path[: len(place)] == place:
            for key, fields in deepcopy(wanted).items():
                spec[key] = {**spec.get(key, {}), **fields} if isinstance(fields, dict) else fields
    at: Any = spec
    for step, key in enumerate(path[:-1]):
        empty: Any = [] if isinstance(path[step + 1], int) else deepcopy(NEEDED.get(path[: step + 1], {}))
        if isinstance(key, int):
            at.append(empty)
        at = at[key] if isinstance(key, int) else at.setdefault(key, empty)
    if isinstance(path[-1], int):
        at.append(value)
    else:
        at[path[-1]] = value
    return manifest
