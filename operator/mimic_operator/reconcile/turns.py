"""A span around each turn of a backend, from before its work until after its log line."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from mimic_operator.reconcile.store import Entry
from mimic_operator.runtime.queue import Key, Outcome
from mimic_operator.runtime.spans import Begun, Spans, turn


@dataclass(slots=True)
class Turns:
    """`begin` and `end` are called by the task that works on the key; of one key there is one turn at a time."""

    spans: Spans
    _begun: dict[Key, Begun] = field(default_factory=dict)

    def begin(self, key: Key) -> None:
        self._begun[key] = self.spans.reconcile(key.namespace, key.name)

    def end(self, outcome: Outcome, entry: Entry | None, status: Mapping[str, Any]) -> None:
        """entry: None where there is no such backend any more. status: as it was written last."""
        begun = self._begun.pop(outcome.key)
        begun.tell(
            turn(
                result="error" if outcome.reason else "ok",
                generation=entry.generation if entry is not None else None,
                mode=entry.mode if entry is not None else "",
                revision=str(status.get("updateRevision") or ""),
                current=str(status.get("currentRevision") or ""),
                phase=str((status.get("rollout") or {}).get("phase") or ""),
            )
        )
        begun.end(outcome.reason)
