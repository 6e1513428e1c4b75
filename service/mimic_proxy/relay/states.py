"""The states of an exchange, and the events that each of them allows. Data: the exchange acts by it, tests hold the
exchange and the page docs/architecture.md against it.
"""

from enum import Enum


class State(Enum):
    """What an exchange waits for."""

    RECEIVING = "receiving"
    PARSING = "parsing"
    QUEUED = "queued"
    TOKEN = "token"
    DIALLING = "dialling"
    UPLOADING = "uploading"
    SENT = "sent"
    GATHERING = "gathering"
    TRANSLATING = "translating"
    COMPOSING = "composing"
    HEAD = "head"
    STREAMING = "streaming"
    AFTER_DONE = "after_done"
    ENDED = "ended"


WAITS_FOR = {
    State.RECEIVING: "the request: a JSON body whole, the first piece of an upload",
    State.PARSING: "a large JSON body to be read in a worker thread",
    State.QUEUED: "a slot",
    State.TOKEN: "an access token",
    State.DIALLING: "a new connection to the backend",
    State.UPLOADING: "the rest of an upload, which is passed on as it comes",
    State.SENT: "the head of the backend's response",
    State.GATHERING: "the rest of a response that has to be read whole",
    State.TRANSLATING: "a large response to be translated in a worker thread",
    State.COMPOSING: "the calls of which one response is composed",
    State.HEAD: "the first event of a stream, which may still become a replay or a status of its own",
    State.STREAMING: "the rest of a response whose bytes are passed on as they come",
    State.AFTER_DONE: "the end of a stream's body after its last event, so that the connection can be kept",
    State.ENDED: "nothing",
}

_ANYTIME = frozenset({"caller_writable", "caller_lost", "tick", "reject", "drain"})
_BODY = frozenset({"caller_data", "caller_end"})
_UPSTREAM = frozenset({"upstream_received", "upstream_lost", "upstream_writable"})
_INVITED = frozenset({"token_ready"})
"""A body that its caller holds back is asked for once there is a token; some callers do not wait for that."""

EVENTS: dict[State, frozenset[str]] = {
    State.RECEIVING: _ANYTIME | _BODY | _INVITED,
    State.PARSING: _ANYTIME | _INVITED | {"request_parsed"},
    State.QUEUED: _ANYTIME | _BODY | _INVITED | {"slot_granted"},
    State.TOKEN: _ANYTIME | _BODY | {"token_ready"},
    State.DIALLING: _ANYTIME | _BODY | {"connected", "not_connected", "token_lapsed"},
    State.UPLOADING: _ANYTIME | _BODY | _UPSTREAM,
    State.SENT: _ANYTIME | _UPSTREAM,
    State.GATHERING: _ANYTIME | _BODY | _UPSTREAM,
    State.TRANSLATING: _ANYTIME | {"response_translated"},
    State.COMPOSING: _ANYTIME | {"composing_progressed", "composed"},
    State.HEAD: _ANYTIME | _BODY | _UPSTREAM,
    State.STREAMING: _ANYTIME | _BODY | _UPSTREAM,
    State.AFTER_DONE: _ANYTIME | _BODY | _UPSTREAM,
    # It may end within a call of the caller's side, which then goes on; and a worker thread cannot be called back.
    State.ENDED: _ANYTIME | _BODY | {"request_parsed", "response_translated"},
}
"""Every other event is a fault of whoever reports it."""


def table() -> str:
    """The states as Markdown."""
    lines = ["| state | waits for | events |", "| --- | --- | --- |"]
    lines += [
        f"| `{state.value}` | {WAITS_FOR[state]} | {', '.join(f'`{event}`' for event in sorted(EVENTS[state]))} |"
        for state in State
    ]
    return "\n".join(lines)
