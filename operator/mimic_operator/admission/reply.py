"""What a handler leaves for the server that called it, around kopf.

kopf would derive the patch from a changed copy of the pod, and the library that it asks (jsonpatch 1.47) gets some
lists wrong: a test in tests/controller/test_injection_kopf.py shows one. So the operations go this way.
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
