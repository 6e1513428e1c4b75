"""Classifies what can go wrong with the API server by what to do about it. Pure."""

from collections.abc import Mapping, Sequence

from mimic_operator.errors import OperatorError, Reason


class Fault(OperatorError):
    """A call to the API server that failed.

    reason: its class. retry_after: seconds after which the server accepts another attempt, if it named them.
    fields: paths of the fields over which a server-side apply conflicts, in the server's notation.
    of_object: whether the reason is `absent` and it is the object that is absent, not its kind.
    """

    def __init__(
        self,
        reason: Reason,
        sentence: str,
        *,
        retry_after: float | None = None,
        fields: Sequence[str] = (),
        of_object: bool = False,
    ) -> None:
        super().__init__(sentence)
        self.reason = reason
        self.retry_after = retry_after
        self.fields = tuple(fields)
        self.of_object = of_object


_BY_STATUS: Mapping[int, Reason] = {
    401: "forbidden",
    403: "forbidden",
    404: "absent",
    408: "timeout",
    409: "conflict",
    410: "gone",
    422: "invalid",
    429: "throttled",
    500: "internal",
    502: "unavailable",
    503: "unavailable",
    504: "timeout",
}
LONGEST_SENTENCE = 512


def fault_of(status: int, answer: object, retry_after: str | None, doing: str) -> Fault:
    """The fault that an HTTP response reports.

    answer: its JSON (`meta/v1 Status`), or anything else. retry_after: the header field; seconds are understood.
    """
    details = answer.get("details") if isinstance(answer, Mapping) else None
    causes = details.get("causes") if isinstance(details, Mapping) else None
    fields = [
        str(cause.get("field", ""))
        for cause in (causes if isinstance(causes, Sequence) else ())
        if isinstance(cause, Mapping) and cause.get("reason") == "FieldManagerConflict"
    ]
    message = str(answer.get("message", "")) if isinstance(answer, Mapping) else ""
    seconds = float(retry_after) if retry_after is not None and retry_after.isdecimal() else None
    if seconds is None and isinstance(details, Mapping) and isinstance(details.get("retryAfterSeconds"), int):
        seconds = float(details["retryAfterSeconds"])
    sentence = f"{doing}: {status} {message}".strip()[:LONGEST_SENTENCE]
    reason: Reason = _BY_STATUS.get(status, "invalid" if 400 <= status < 500 else "internal")
    # Of a kind that is not served the API server says so as plain text; of an object it names the object.
    of_object = status == 404 and isinstance(details, Mapping) and bool(details.get("name"))
    return Fault(reason, sentence, retry_after=seconds, fields=fields, of_object=of_object)
