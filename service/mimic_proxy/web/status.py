"""The status page: the document that it shows (read from what is there, kept small, and never a secret in it), and the
page itself, put together from its parts into one that needs nothing from anywhere.

Its style and its scripts stand inside of it, and the policy that goes with it allows these very texts by their hashes
and nothing else (Content Security Policy Level 3, 2.3.1): what a caller got into the page could not run.
"""

import base64
import hashlib
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from heapq import nsmallest
from importlib.resources import files
from typing import Any, NamedTuple

import msgspec

from mimic_proxy.http.target import parse_base
from mimic_proxy.relay.exchange import Exchange
from mimic_proxy.relay.ports import Services
from mimic_proxy.relay.states import State
from mimic_proxy.settings.fields import Settings
from mimic_proxy.telemetry.history import BUCKET_SECONDS, LONGEST_TEXT, EndedExchange, History, Point, Tally
from mimic_proxy.telemetry.observation import RefreshObservation
from mimic_proxy.telemetry.port import TokenState
from mimic_proxy.web.verdict import QUIET_SECONDS, SILENT_SECONDS, WINDOW_SECONDS, Circumstances, judge, standings

STYLE = "status.css"
SCRIPTS = ("status_plots.js", "status_tables.js", "status.js")


class Page(NamedTuple):
    """The document, and the header fields that it is sent with."""

    body: bytes
    headers: dict[str, str]


def assemble(document: str, style: str, script: str) -> Page:
    """`document` holds `<style></style>` and `<script></script>`, empty and once each."""
    policy = "; ".join(
        [
            "default-src 'none'",
            f"script-src {_source(script)}",
            f"style-src {_source(style)}",
            "img-src data:",
            "connect-src 'self'",
            "base-uri 'none'",
            "form-action 'none'",
            "frame-ancestors 'none'",
            "require-trusted-types-for 'script'",
            "trusted-types 'none'",
        ]
    )
    body = document.replace("<style></style>", f"<style>{style}</style>", 1)
    body = body.replace("<script></script>", f"<script>{script}</script>", 1)
    headers = {
        "content-type": "text/html; charset=utf-8",
        "content-security-policy": policy,
        "cache-control": "no-store",
        "referrer-policy": "no-referrer",
        "x-content-type-options": "nosniff",
        "cross-origin-opener-policy": "same-origin",
        "cross-origin-resource-policy": "same-origin",
    }
    return Page(body.encode("utf-8"), headers)


def status_page() -> Page:
    """The page as it is shipped."""
    parts = files("mimic_proxy.web")
    document, style, *scripts = (parts.joinpath(name).read_text("utf-8") for name in ("status.html", STYLE, *SCRIPTS))
    return assemble(document, style, '"use strict";\n' + "".join(scripts))


def _source(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode('utf-8')).digest()).decode('ascii')}'"


OLDEST_SHOWN = 10
PLAIN_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/@-]{0,99}")
WAITS_FOR = {
    State.RECEIVING: "the request",
    State.PARSING: "the request to be read",
    State.QUEUED: "a slot",
    State.TOKEN: "the access token",
    State.DIALLING: "a connection",
    State.UPLOADING: "the rest of the upload",
    State.SENT: "the backend",
    State.GATHERING: "the rest of the response",
    State.TRANSLATING: "the response to be translated",
    State.COMPOSING: "the calls it is composed of",
    State.HEAD: "the first event",
    State.STREAMING: "the end of the response",
    State.AFTER_DONE: "the end of the connection's response",
}
"""What an exchange waits for in each state, as a person says it."""

Condition = tuple[str, bool, str]


@dataclass(slots=True)
class Watched:
    """What the page looks at. started: Unix time; clock, wall: monotonic and Unix seconds."""

    version: str
    started: float
    settings: Callable[[], Settings]
    services: Callable[[], Services]
    conditions: Callable[[], Sequence[Condition]]
    token: Callable[[], TokenState]
    history: History
    api_port: int
    """Known for sure once it listens: the settings may leave the choice to the system."""
    clock: Callable[[], float]
    wall: Callable[[], float]


def document(watched: Watched) -> dict[str, Any]:
    """The state of this moment. Times are Unix times, durations seconds."""
    now, wall = watched.clock(), watched.wall()
    offset = wall - now
    history, services, settings = watched.history, watched.services(), watched.settings()
    conditions, token, lately = watched.conditions(), watched.token(), history.tally(now, WINDOW_SECONDS)
    running = _exchanges(services)
    waits = [now - exchange.record.sent for exchange in running if exchange.state is State.SENT]
    silent = [wait for wait in waits if wait >= SILENT_SECONDS]
    seen = Circumstances(
        now=wall,
        conditions=conditions,
        token=token,
        token_failing_since=None if history.failing_since is None else history.failing_since + offset,
        breaker_open=services.breaker.state == "open",
        slots_in_use=services.slots.in_use,
        slots_limit=settings.max_concurrency,
        queue=services.slots.waiting,
        causes=lately.causes,
        last={cause: moment + offset for cause, moment in history.last.items()},
        running=len(running),
        silent=len(silent),
        silent_seconds=max(silent, default=0.0),
        lately=history.tally(now, QUIET_SECONDS).causes,
    )
    findings = judge(seen)
    return {
        "now": wall,
        "version": watched.version,
        "started": watched.started,
        "api": {
            "port": watched.api_port,
            "tls": settings.tls_cert is not None,
            "model": example_model(settings.models, history.exchanges),
        },
        "places": _places(settings),
        "ready": all(holds for _, holds, _ in conditions),
        "conditions": [{"name": name, "ok": holds, "reason": why or None} for name, holds, why in conditions],
        "findings": findings,
        "standings": standings(seen, findings),
        "token": {
            **_token(token),
            "failing_since": seen.token_failing_since,
            "refreshes": [_refresh(refresh, offset) for refresh in reversed(history.refreshes)],
        },
        "live": _live(services, settings, now),
        "lately": _tally(lately),
        "plots": _plots(history.points(now), now, wall),
        "exchanges": [_exchange(kept, offset) for kept in reversed(history.exchanges)],
        "failures": [_exchange(kept, offset) for kept in reversed(history.failures)],
    }


def example_model(configured: Sequence[str], recent: Iterable[EndedExchange]) -> str | None:
    """A model for the examples that are there to be copied, None if none is known.

    Callers choose names: one that could mean something to a shell or to a language is not offered.
    """
    used = [kept.model for kept in recent if kept.operation == "chat" and kept.outcome == "completed"]
    return next((name for name in (*configured, *reversed(used)) if name and PLAIN_NAME.fullmatch(name)), None)


def encoded(watched: Watched) -> bytes:
    """The document as JSON."""
    return msgspec.json.encode(document(watched))


def _places(settings: Settings) -> dict[str, str | None]:
    """Host and port of the two services."""
    urls = dict.fromkeys((settings.chat_api_url, settings.embedding_api_url))
    return {
        "backend": " and ".join(dict.fromkeys(map(_place, urls))),
        "token_service": None if settings.token_url is None else _place(settings.token_url),
    }


def _place(url: str) -> str:
    base = parse_base(url)
    return f"{base.host}:{base.port}"


def _token(token: TokenState) -> dict[str, Any]:
    """Field by field: what TokenState learns to hold some day is not shown by itself."""
    return {
        "required": token.required,
        "held": token.held,
        "generation": token.generation,
        "issued": token.issued,
        "expires": token.expires,
        "lifetime_seconds": token.lifetime,
        "next_refresh": token.next_refresh,
        "in_flight": token.in_flight,
        "waiters": token.waiters,
        "coalesced": token.coalesced,
        "last_result": token.last_result,
        "consecutive_failures": token.consecutive_failures,
        "trouble": token.trouble,
    }


def _refresh(seen: RefreshObservation, offset: float) -> dict[str, Any]:
    return {
        "started": seen.started + offset,
        "trigger": seen.trigger,
        "result": seen.result,
        "status": seen.status,
        "duration_seconds": seen.duration_seconds,
        "lifetime_seconds": seen.lifetime_seconds,
        "waiters": seen.waiters,
    }


def _live(services: Services, settings: Settings, now: float) -> dict[str, Any]:
    running = _exchanges(services)
    oldest = nsmallest(OLDEST_SHOWN, running, key=lambda exchange: exchange.record.started)
    return {
        "exchanges": len(running),
        "streams": sum(exchange.response.stream for exchange in running),
        "operations": Counter(exchange.record.operation for exchange in running),
        "oldest": [_running(exchange, now) for exchange in oldest],
        "slots": {"in_use": services.slots.in_use, "limit": settings.max_concurrency},
        "queue": {"waiting": services.slots.waiting, "limit": settings.max_queue},
        "buffered": {"bytes": services.budget.held, "limit": settings.max_buffered_bytes},
        "breaker": services.breaker.state if settings.breaker_failures else "off",
    }


def _exchanges(services: Services) -> list[Exchange]:
    return [exchange for exchange in services.ticker.running() if isinstance(exchange, Exchange)]


def _running(exchange: Exchange, now: float) -> dict[str, Any]:
    record = exchange.record
    model = record.model
    return {
        "request_id": record.request_id,
        "operation": record.operation,
        "model": None if model is None else _sendable(model[:LONGEST_TEXT]),
        "stream": exchange.response.stream,
        "waits_for": WAITS_FOR.get(exchange.state, "nothing"),
        "age_seconds": now - record.started,
        "answered_bytes": record.response_bytes,
    }


def _tally(tally: Tally) -> dict[str, Any]:
    return {
        "seconds": WINDOW_SECONDS,
        "calls": tally.calls,
        "asked": tally.asked,
        "failed": tally.failed,
        "causes": {cause: count for cause, count in tally.causes.items() if count},
        "p50": tally.p50,
        "p95": tally.p95,
        "first_p50": tally.first_p50,
        "first_p95": tally.first_p95,
    }


def _plots(points: Iterable[Point], now: float, wall: float) -> dict[str, Any]:
    """By columns, which is half of the bytes; the last value of each is of a bucket that has just begun."""
    columns: Mapping[str, list[Any]] = {name: [] for name in Point.__struct_fields__}
    for point in points:
        for name, column in columns.items():
            column.append(getattr(point, name))
    return {"bucket_seconds": BUCKET_SECONDS, "last_seconds": now % BUCKET_SECONDS, "end": wall, **columns}


def _exchange(kept: EndedExchange, offset: float) -> dict[str, Any]:
    model = kept.model
    shown: dict[str, Any] = msgspec.structs.asdict(kept)
    shown["ended"] = kept.ended + offset
    shown["model"] = None if model is None else _sendable(model)
    return shown


def _sendable(text: str) -> str:
    """A name that holds half a surrogate pair is no UTF-8."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode("utf-8")
