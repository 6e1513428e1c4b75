"""What was tried for one request that Mimic composed; its observation shows it. Pure."""

from collections.abc import Sequence

from mimic_proxy.http.headers import ResponseFields
from mimic_proxy.relay.outcome import error_type_of_status
from mimic_proxy.telemetry.observation import Attempt, ErrorType, RetryReason


class Tries:
    """Moments are the pool's clock's."""

    def __init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        """Another call begins: of several for one request the last is shown."""
        self.count = 0
        self.earlier: tuple[Attempt, ...] = ()
        self.upstream: ResponseFields | None = None
        self.error_type: ErrorType | None = None
        self.sent: float | None = None
        self.head: float | None = None

    def begun(self, now: float | None) -> None:
        """A try; now: when it was sent, None where it could not be."""
        self.count += 1
        self.upstream = self.error_type = self.head = None
        self.sent = now

    def answered(self, fields: ResponseFields, now: float) -> None:
        """The head has come."""
        self.upstream, self.head = fields, now
        self.error_type = error_type_of_status(fields.status) if fields.status >= 400 else None

    def repeated(self, why: RetryReason, now: float) -> None:
        """What was tried last is tried again."""
        began = now if self.sent is None else self.sent
        status = None if self.upstream is None else self.upstream.status
        error_type = self.error_type or ("unauthorized" if why == "unauthorized" else "reset")
        self.earlier += (Attempt(began, now - began, status, self.head_seconds, error_type, why),)

    @property
    def head_seconds(self) -> float | None:
        """From the last try to its head."""
        return None if self.head is None or self.sent is None else self.head - self.sent

    def add(self, others: "Sequence[Tries]") -> None:
        """The calls of one request, made side by side: all their attempts, and the head of one that failed, else of
        the last.
        """
        begun = [other for other in others if other.count]
        self.count += sum(other.count for other in begun)
        self.earlier += tuple(attempt for other in begun for attempt in other.earlier)
        for other in begun:
            if self.sent is None or (other.sent is not None and other.sent < self.sent):
                self.sent = other.sent
            if self.error_type is None:
                self.upstream, self.head, self.error_type = other.upstream, other.head, other.error_type
