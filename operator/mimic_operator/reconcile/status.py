"""What stands in a MimicBackend's status: conditions, counts, the rollout. Pure.

It never grows with the number of pods, and it says the same as long as nothing has changed, so that it is written only
when a reader may want to know.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from mimic_operator.errors import Problem
from mimic_operator.reconcile.rollout import Rollout
from mimic_operator.reconcile.workload import Counts, Ref
from mimic_operator.resource.backend import Backend
from mimic_operator.resource.warnings import INSECURE, warnings_of

Truth = Literal["True", "False", "Unknown"]
LONGEST_MESSAGE = 1024
LONGEST_CURRENT = 320
NAMED = 5
"""So many workloads or fields are named in a message; of the others only the number."""
COUNTER_SECONDS = 10.0
"""Counters alone are written this often at most, for each backend."""


@dataclass(frozen=True, slots=True)
class Condition:
    """One condition without its times."""

    status: Truth
    reason: str
    message: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Injected:
    """Pods that ask for the backend's sidecar."""

    current: int = 0
    """With the update revision's sidecar."""
    outdated: int = 0
    missing: int = 0
    """Without any sidecar."""
    pointed: int = 0
    """Callers of a shared proxy, which have no sidecar of their own."""

    @property
    def total(self) -> int:
        """Pods that have a sidecar."""
        return self.current + self.outdated


NOT_ASKED = Condition("Unknown", "NotAsked", "no proxy runs that could report it, and the operator reads no Secret")


@dataclass(frozen=True, slots=True, kw_only=True)
class Observed:
    """All that a status depends on. backend: None where the spec is invalid, and then `problems` says why."""

    generation: int
    mode: str
    backend: Backend | None
    problems: Sequence[Problem] = ()
    url: str = ""
    target: str = ""
    current: str = ""
    waiting: str = ""
    """A revision that waits for the next change: an upgrade of the operator made it."""
    frozen: Sequence[str] = ()
    """Revisions whose pods cannot have the configuration of now, and keep theirs."""
    plan: Rollout | None = None
    lost: Sequence[tuple[Ref, str | None]] = ()
    """Workloads that the backend selects and another one has."""
    refused_children: Sequence[tuple[str, str]] = ()
    """Objects of the backend that the API server refuses, and why."""
    refused: str = ""
    """What a quota or limit range said of pods with the sidecar."""
    injected: Injected = Injected()
    secret: Condition = NOT_ASKED
    pods: Counts | None = None
    """Of the Deployment in Deployment mode, None where it is not there yet."""
    selector: str = ""


def status_of(observed: Observed, before: Mapping[str, Any], now: str) -> dict[str, Any]:
    """The status to stand there. before: the one that stands there now. now: RFC 3339, for conditions that turn."""
    conditions = conditions_of(observed)
    found: dict[str, Any] = {
        "observedGeneration": observed.generation,
        "mode": observed.mode,
        "conditions": _conditions(conditions, before.get("conditions") or (), observed.generation, now),
    }
    named = {
        "url": observed.url,
        "currentRevision": observed.current,
        "updateRevision": observed.target,
        "selector": observed.selector,
    }
    found |= {key: value for key, value in named.items() if value}
    injected = observed.injected
    found["injected"] = {
        "total": injected.total,
        "current": injected.current,
        "outdated": injected.outdated,
        "missing": injected.missing,
        "pointed": injected.pointed,
    }
    if observed.plan is not None:
        found["rollout"] = _rollout(observed.plan, observed)
    elif observed.backend is None and "rollout" in before:
        found["rollout"] = before["rollout"]
    if observed.mode == "Deployment" and observed.pods is not None:
        found |= {"replicas": observed.pods.total, "readyReplicas": observed.pods.ready}
    return found


def conditions_of(observed: Observed) -> dict[str, Condition]:
    """The conditions by type, in the order in which they are shown."""
    parts = {
        "ConfigValid": _config_valid(observed),
        "SecretResolved": observed.secret,
        "Injectable": _injectable(observed),
        "Progressing": _progressing(observed),
        "Insecure": _insecure(observed.backend),
        "Degraded": _degraded(observed),
    }
    if observed.mode == "Deployment":
        parts["Available"] = _available(observed.pods)
    suspended = observed.backend is not None and observed.backend.suspend
    return {"Ready": _ready(parts, observed.mode, suspended=suspended)} | parts


def _ready(parts: Mapping[str, Condition], mode: str, *, suspended: bool) -> Condition:
    """ConfigValid, not suspended, no Secret that lacks, and Injectable in Sidecar or Available in Deployment mode."""
    if parts["ConfigValid"].status == "True" and suspended:
        return Condition("False", "Suspended", "spec.suspend is true: pods and workloads stay as they are")
    for needed in ("ConfigValid", "Available" if mode == "Deployment" else "Injectable"):
        condition = parts[needed]
        if condition.status != "True":
            return Condition("False", condition.reason, condition.message)
    secret = parts["SecretResolved"]
    if secret.status == "False":
        return Condition("False", secret.reason, secret.message)
    return Condition("True", "Ready")


def _config_valid(observed: Observed) -> Condition:
    if observed.backend is not None:
        return Condition("True", "Valid")
    sentences = [f"{problem.path}: {problem.sentence}" for problem in observed.problems]
    return Condition("False", "Invalid", _some(sentences, "; "))


def _injectable(observed: Observed) -> Condition:
    if observed.lost:
        said = [f"{ref} belongs to {owner or 'its user'}" for ref, owner in observed.lost]
        return Condition("False", "Conflict", _some(said))
    if observed.refused:
        return Condition("False", "QuotaOrLimits", observed.refused[:LONGEST_MESSAGE])
    if not observed.current:
        return Condition("False", "NoRevision", "there has been no valid configuration yet")
    return Condition("True", "Injectable")


def _available(pods: Counts | None) -> Condition:
    if pods is None:
        return Condition("False", "NoDeployment", "the Deployment is not there yet")
    message = f"{pods.available} of {pods.desired} pods are available"
    if not pods.desired:
        return Condition("True", "ScaledToZero", "no pods are wanted")
    enough = pods.available >= max(1, pods.desired - 1)
    return Condition("True", "Available", message) if enough else Condition("False", "Unavailable", message)


def _progressing(observed: Observed) -> Condition:
    plan = observed.plan
    if plan is None:
        return Condition("Unknown", "NotPlanned", "nothing is changed while the configuration is invalid")
    message = f"{plan.done} of {plan.total} workloads carry revision {observed.target}" if plan.total else ""
    return Condition("True" if plan.phase == "Progressing" else "False", plan.phase, message)


def _insecure(backend: Backend | None) -> Condition:
    if backend is None:
        return Condition("Unknown", "Invalid")
    found = [warning for warning in warnings_of(backend) if warning.reason in INSECURE]
    if not found:
        return Condition("False", "Secure")
    return Condition("True", found[0].reason, "; ".join(warning.sentence for warning in found))


def _degraded(observed: Observed) -> Condition:
    plan, backend = observed.plan, observed.backend
    if plan is not None and plan.stuck:
        return Condition("True", plan.stuck[0].reason, _some([stuck.sentence for stuck in plan.stuck], "; "))
    refused = list(observed.refused_children)
    refused += [(str(each.workload.ref), each.sentence) for each in plan.refused] if plan is not None else []
    if refused:
        return Condition("True", "Refused", _some([f"{name} cannot be written: {why}" for name, why in refused], "; "))
    if plan is not None and plan.contended:
        said = [f"{workload.ref}" for workload in plan.contended]
        return Condition(
            "True", "Contended", f"another writer takes the sidecar's label or annotations off again: {_some(said)}"
        )
    if backend is not None and backend.mode == "Sidecar" and _single_use(backend):
        sentence = "each pod would use up the credential: use Deployment mode with one replica"
        return Condition("True", "SingleUseCredential", sentence)
    return Condition("False", "AsExpected")


def _single_use(backend: Backend) -> bool:
    """Decided case 18."""
    return backend.auth.single_use or backend.auth.grant == "RefreshToken"


def _rollout(plan: Rollout, observed: Observed) -> dict[str, Any]:
    """The `rollout` block. `current` names the workloads in turn, so that a restarted operator knows them."""
    sentences = [stuck.sentence for stuck in plan.stuck]
    if plan.opted_out:
        sentences.append(f"opted out: {_some([str(workload.ref) for workload in plan.opted_out])}")
    if plan.unfit:
        sentences.append(f"without sidecar: {_some([f'{w.ref} ({w.unfit})' for w in plan.unfit])}")
    if plan.unsteady:
        sentences.append(f"not settled before, so they come last: {_some([str(w.ref) for w in plan.unsteady])}")
    if plan.pending:
        pending = [f"{workload.ref} ({workload.inert})" for workload in plan.pending]
        sentences.append(f"not restarted by the change: {_some(pending)}")
    if plan.phase == "Manual":
        outdated = _some([str(workload.ref) for workload in plan.candidates])
        sentences.append(f"waiting for `kubectl rollout restart`: {outdated}")
    if observed.waiting:
        sentences.append(
            f"revision {observed.waiting} of the upgraded operator waits for the next change of the backend"
        )
    if observed.frozen:
        sentences.append(f"pods keep their configuration until they restart: those of {_some(observed.frozen)}")
    if observed.mode == "Sidecar" and observed.injected.pointed:
        count = observed.injected.pointed
        sentences.append(
            f"{count} pods still call the shared proxy, which stays until they restart: they get the sidecar then"
        )
    found: dict[str, Any] = {"phase": plan.phase, "done": plan.done, "total": plan.total}
    if plan.begun:
        found["current"] = _joined([str(workload.ref) for workload in plan.begun])
    if sentences:
        found["message"] = "; ".join(sentences)[:LONGEST_MESSAGE]
    return found


def _joined(names: Sequence[str]) -> str:
    """As many as fit."""
    text = ""
    for name in names:
        longer = f"{text}, {name}" if text else name
        if len(longer) > LONGEST_CURRENT:
            break
        text = longer
    return text


def current_names(status: Mapping[str, Any]) -> tuple[str, ...]:
    """The workloads that `rollout.current` names, as KIND/NAME."""
    text = (status.get("rollout") or {}).get("current") or ""
    return tuple(name for name in text.split(", ") if name)


def _conditions(
    conditions: Mapping[str, Condition], before: Sequence[Mapping[str, Any]], generation: int, now: str
) -> list[dict[str, Any]]:
    earlier = {condition.get("type"): condition for condition in before}
    found = []
    for name, condition in conditions.items():
        old = earlier.get(name) or {}
        same = old.get("status") == condition.status
        found.append(
            {
                "type": name,
                "status": condition.status,
                "reason": condition.reason,
                "message": condition.message[:LONGEST_MESSAGE],
                "observedGeneration": generation,
                "lastTransitionTime": old.get("lastTransitionTime", now) if same else now,
            }
        )
    return found


COUNTERS = ("injected", "replicas", "readyReplicas")


def due(wanted: Mapping[str, Any], before: Mapping[str, Any], since_last: float) -> float | None:
    """Seconds until `wanted` is to be written: 0 at once, None if it stands there already.

    since_last: seconds since this status was written last; a difference in counters alone waits its time.
    """
    if _plain(wanted) == _plain(before):
        return None
    without = [
        {key: value for key, value in _plain(status).items() if key not in COUNTERS} for status in (wanted, before)
    ]
    if without[0] != without[1]:
        return 0.0
    return max(0.0, COUNTER_SECONDS - since_last)


def _plain(status: Mapping[str, Any]) -> dict[str, Any]:
    """For comparing: conditions by type, since their order says nothing."""
    conditions = {entry.get("type"): dict(entry) for entry in status.get("conditions") or ()}
    return {**status, "conditions": conditions}


def _some(parts: Sequence[str], between: str = ", ") -> str:
    rest = f" and {len(parts) - NAMED} more" if len(parts) > NAMED else ""
    return (between.join(parts[:NAMED]) + rest)[:LONGEST_MESSAGE]
