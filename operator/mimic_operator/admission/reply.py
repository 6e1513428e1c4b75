"""What a handler leaves for the server that called it, around kopf.

kopf would send the difference between the pod and a changed copy, found position by position: with a sidecar in front
it turns the first init container of the user into ours, field by field. That is right, and unreadable in an audit log.
So the operations of `patch` go this way, the same that `mimic-operator inject --explain` shows.
"""

from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

from mimic_operator.admission.inject import Decision


@dataclass(slots=True)
class Reply:
    """operations: RFC 6902, for the answer. decision and owner: for the Event that follows it."""

    operations: list[dict[str, Any]] = field(default_factory=list)
    decision: Decision | None = None
    pod: dict[str, Any] = field(default_factory=dict)
    """Its metadata, and nothing else of it."""
    namespace: str = ""
    dry_run: bool = False
    verdict: str = ""


REPLY: ContextVar[Reply] = ContextVar("reply")
