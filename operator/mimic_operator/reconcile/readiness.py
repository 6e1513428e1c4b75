"""What proxies say of their secrets at `/readyz`, and what SecretResolved makes of it (decided case 23). Pure.

Of what a pod answers only words that a proxy would use get into the condition: anybody may label a pod.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mimic_operator.reconcile.status import NOT_ASKED, Truth, Verdict
from mimic_operator.resource.container import ADMIN_PORT_NAME
from mimic_operator.resource.naming import CONTAINER

MOST_PODS = 3
"""So many are asked for one backend at a time, and one where it is known that the secret is there."""
TYPE = "SecretResolved"
FAULT = re.compile(
    r"There is no access token yet: (?P<variable>[A-Z_]{1,40}): (?P<file>/[A-Za-z0-9._/-]{1,300}) "
    r"(?P<trouble>does not exist|is empty|is not UTF-8 text|cannot be read \([A-Za-z ]{1,60}\))\."
)
MISSING = ("does not exist", "is empty")


@dataclass(frozen=True, slots=True)
class Place:
    """Where a pod's admin port is."""

    address: str
    port: int

    @property
    def url(self) -> str:
        host = f"[{self.address}]" if ":" in self.address else self.address
        return f"http://{host}:{self.port}/readyz"


@dataclass(frozen=True, slots=True)
class Answer:
    """The `token` condition of one proxy. reason: why it holds none."""

    held: bool
    reason: str = ""


def place_of(pod: Mapping[str, Any]) -> Place | None:
    """Of a running pod; None where there is no proxy to be asked. A node's own address is never asked."""
    status, spec = pod.get("status") or {}, pod.get("spec") or {}
    address = status.get("podIP")
    if status.get("phase") != "Running" or not address or address == status.get("hostIP"):
        return None
    containers = (*(spec.get("initContainers") or ()), *(spec.get("containers") or ()))
    ports = (each.get("ports") or () for each in containers if each.get("name") == CONTAINER)
    numbers = (port["containerPort"] for some in ports for port in some if port.get("name") == ADMIN_PORT_NAME)
    port = next(numbers, None)
    return Place(address, port) if port is not None else None


def chosen(pods: Mapping[str, bool], most: int, random: Sequence[float]) -> list[str]:
    """Names of the pods to ask. pods: by name, whether it has the present revision; those come first.

    random: numbers of [0, 1), one for each pod, so that it is not always the same ones.
    """
    ordered = sorted(zip(pods, random, strict=True), key=lambda pair: (not pods[pair[0]], pair[1]))
    return [name for name, _ in ordered[:most]]


def answer_of(document: object) -> Answer | None:
    """What the JSON of `/readyz` says; None where it is not that of a proxy."""
    conditions = document.get("conditions") if isinstance(document, Mapping) else None
    for each in conditions if isinstance(conditions, list) else ():
        if isinstance(each, Mapping) and each.get("name") == "token" and isinstance(each.get("ok"), bool):
            return Answer(each["ok"], str(each.get("reason") or ""))
    return None


def verdict_of(answers: Iterable[Answer | None], secret: str) -> Verdict:
    """answers: None for a pod that gave none. secret: the name of the backend's Secret, empty if it has none."""
    given = list(answers)
    heard = [answer for answer in given if answer is not None]
    faults = [fault for answer in heard if not answer.held and (fault := FAULT.match(answer.reason)) is not None]
    if faults:
        return _unresolved(min(faults, key=lambda fault: fault[0]), secret)
    if any(answer.held for answer in heard):
        return Verdict("True", "TokenHeld")
    if heard:
        return Verdict(
            "True", "SecretRead", "the secret is there; no token yet: the log of mimic-proxy in the pods tells why"
        )
    if given:
        return Verdict(
            "Unknown", "Unreachable", "no proxy answers on its admin port: a NetworkPolicy may be in between"
        )
    return NOT_ASKED


def _unresolved(fault: re.Match[str], secret: str) -> Verdict:
    variable, file, trouble = fault["variable"], fault["file"], fault["trouble"]
    key = file.rpartition("/")[2]
    advice = f"; Secret {secret} needs a value under {key}" if secret else ""
    reason = "SecretMissing" if trouble in MISSING else "SecretUnreadable"
    return Verdict("False", reason, f"a proxy says: {variable}: {file} {trouble}{advice}")


def told_before(status: Mapping[str, Any]) -> Verdict:
    """As the status has it from an earlier leader: a new one changes nothing before it has asked."""
    truths: dict[object, Truth] = {"True": "True", "False": "False"}
    for each in status.get("conditions") or ():
        if each.get("type") == TYPE and each.get("status") in truths:
            return Verdict(truths[each["status"]], str(each.get("reason")), str(each.get("message") or ""))
    return NOT_ASKED
