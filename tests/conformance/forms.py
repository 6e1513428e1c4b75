"""The ways in which the demo's backend can speak; through each of them callers have to get the same answers."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Form:
    """arguments: of `mimic-proxy demo`. piecemeal: the backend streams, and gives no whole answer at once."""

    name: str
    arguments: tuple[str, ...] = ()
    piecemeal: bool = True

    def __str__(self) -> str:
        return self.name

    @property
    def dialect(self) -> str:
        return "envelope" if "envelope" in self.arguments else "openai"


def _envelope(stream: str, text: str = "delta") -> tuple[str, ...]:
    return ("--dialect", "envelope", "--stream", stream, "--stream-text", text)


FORMS = (
    Form("openai"),
    Form("envelope-plain", _envelope("plain"), piecemeal=False),
    Form("envelope-sse", _envelope("sse")),
    Form("envelope-sse-cumulative", _envelope("sse", "cumulative")),
    Form("envelope-ndjson", _envelope("ndjson")),
    Form("envelope-ndjson-cumulative", _envelope("ndjson", "cumulative")),
)
STREAMING = tuple(form for form in FORMS if form.piecemeal)
