"""The timers of one exchange. Pure: moments are written down as they happen, the next deadline is computed from them.

name          runs                                                    setting
total         from the request's first byte to the end                TOTAL_TIMEOUT
queue         while waiting for a slot                                QUEUE_TIMEOUT
body          between two pieces of the request's body                SEND_TIMEOUT
first_byte    from the request sent to the first event or byte        FIRST_BYTE_TIMEOUT
unclassified  from a stream's head until its bytes go out as they are 15 s
idle          between two reads of the backend, unless paused by us   IDLE_TIMEOUT
send          while one side takes nothing more                       SEND_TIMEOUT
heartbeat     since the last byte to the caller of a stream           HEARTBEAT_AFTER
after_done    from [DONE] until the connection is given up            1 s
"""

from typing import Literal

from mimic_proxy.errors import MimicError, Overloaded, RequestTimeout, UpstreamTimeout
from mimic_proxy.relay.ports import Limits
from mimic_proxy.relay.states import State
from mimic_proxy.telemetry.record import Record

UNCLASSIFIED_SECONDS = 15.0
AFTER_DONE_SECONDS = 1.0
NEVER = float("inf")


Timer = Literal[
    "total",
    "queue",
    "body",
    "first_byte",
    "unclassified",
    "idle",
    "send",
    "heartbeat",
    "after_done",
    "none",
]


def next_deadline(at: Record, state: State, limits: Limits, *, body_open: bool, may_beat: bool) -> tuple[float, Timer]:
    """When the next timer fires and which; NEVER if none runs.

    body_open: more of the request's body is due. may_beat: a heartbeat could be written now.
    """
    found: list[tuple[float, Timer]] = [(at.started + limits.total, "total") if limits.total else (NEVER, "none")]
    if state is State.AFTER_DONE:
        found.append((at.after_done + AFTER_DONE_SECONDS, "after_done"))
        return min(found)
    stalled = at.caller_stalled or at.backend_stalled
    match state:
        case State.QUEUED if limits.queue:
            found.append((at.queued + limits.queue, "queue"))
        case State.UPLOADING | State.SENT | State.COMPOSING if limits.first_byte and not stalled:
            # From the last piece of an upload on, or from when a stalled caller took bytes again.
            found.append((max(at.upstream, at.body) + limits.first_byte, "first_byte"))
        case State.HEAD:
            found.append((at.head + UNCLASSIFIED_SECONDS, "unclassified"))
            if limits.first_byte and not stalled:
                found.append((at.sent + limits.first_byte, "first_byte"))
        case State.GATHERING | State.STREAMING if limits.idle and not stalled:
            found.append((at.upstream + limits.idle, "idle"))
    if limits.send and stalled:
        found.append((stalled + limits.send, "send"))
    elif limits.send and body_open and state is not State.QUEUED:
        found.append((at.body + limits.send, "body"))
    if limits.heartbeat_after and may_beat and not stalled:
        found.append((max(at.written, at.sent) + limits.heartbeat_after, "heartbeat"))
    return min(found)


def timeout_error(name: Timer, limits: Limits) -> MimicError:
    """What is answered when this timer has run out. It names itself, and the seconds it ran."""
    match name:
        case "queue":
            message = f"No slot became free within {limits.queue:g} s (queue timer). Try again shortly."
            return Overloaded(message, retry_after=1)
        case "body":
            return RequestTimeout(f"No more of the request came for {limits.send:g} s (send timer).")
        case "send":
            message = f"The backend took no more of the request for {limits.send:g} s (send timer)."
            return UpstreamTimeout(message, timer="send")
        case "first_byte":
            message = f"The backend sent nothing for {limits.first_byte:g} s (first_byte timer)."
            return UpstreamTimeout(message, timer="first_byte", should_retry=False)
        case "idle":
            message = f"The backend paused for {limits.idle:g} s in its answer (idle timer)."
            return UpstreamTimeout(message, timer="idle")
        case _:
            message = f"The exchange took longer than {limits.total:g} s (total timer)."
            return UpstreamTimeout(message, timer="total", should_retry=False)


def caller_stalls(record: Record, unsent: int, now: float) -> None:
    """The caller takes no more of the response. unsent: bytes that it has not taken."""
    record.caller_stalled = now
    record.caller_unsent = unsent


def stall_ends(record: Record, now: float) -> None:
    """The caller takes bytes again, or the call ends."""
    if record.caller_stalled:
        record.send_blocked_seconds += now - record.caller_stalled
        record.caller_stalled = 0.0


def caller_gone(record: Record, unsent: int, now: float) -> bool:
    """The caller has taken nothing for a whole send timer; if it has taken something, the timer begins anew."""
    if unsent == record.caller_unsent:
        return True
    caller_stalls(record, unsent, now)
    return False
