"""Known words in every place that holds something confidential, and a look at all that Mimic shows."""

import base64
import json
import signal
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

from fakes.backend import Backend
from fakes.caller import Response, ask, request
from fakes.collector import Collector
from fakes.mimic import Mimic, running, settings
from fakes.replies import Fields
from fakes.token_service import TokenService

AUTH_CODE = "planted-auth-code-1f0c"
CALLER_KEY = "planted-caller-key-2a9b"
API_KEY = "planted-api-key-3b8e"
COOKIE = "planted-cookie-4c7d"
BAGGAGE = "planted-baggage-5d6f"
NOTE = "planted-header-value-6e5a"
QUERY = "planted-query-7f41"
BASE_QUERY = "planted-base-query-8032"
PROMPT = "planted prompt of the caller 9123"
FILE = "planted contents of a file a214"
ANSWER = "planted answer of the model b305"
REFRESH_TOKEN = "planted-refresh-token-c4f6"
OTLP_KEY = "planted-collector-key-d5e7"
PROXY_USER = "planted-proxy-user"
PROXY_PASSWORD = "planted-proxy-password-e6d8"
WORDS = (
    AUTH_CODE,
    CALLER_KEY,
    API_KEY,
    COOKIE,
    BAGGAGE,
    NOTE,
    QUERY,
    BASE_QUERY,
    PROMPT,
    FILE,
    ANSWER,
    REFRESH_TOKEN,
    OTLP_KEY,
    PROXY_PASSWORD,
    base64.b64encode(f"{PROXY_USER}:{PROXY_PASSWORD}".encode()).decode(),
)
CALLER_FIELDS: Fields = (
    (b"authorization", b"Bearer " + CALLER_KEY.encode()),
    (b"api-key", API_KEY.encode()),
    (b"x-api-key", API_KEY.encode()),
    (b"cookie", b"session=" + COOKIE.encode()),
    (b"baggage", b"user=" + BAGGAGE.encode()),
    (b"x-note", NOTE.encode()),
    (b"traceparent", b"00-" + b"a" * 32 + b"-" + b"b" * 16 + b"-01"),
)
SHOWN: Mapping[str, bytes] = {
    "/livez": b"*/*",
    "/readyz": b"*/*",
    "/metrics": b"text/plain",
    "/metrics?openmetrics": b"application/openmetrics-text; version=1.0.0",
    "/config": b"*/*",
    "/status": b"application/json",
    "/": b"text/html",
}
"""All that the admin port shows, and the form that is asked for; one that is not there any more fails the test."""


def in_text(secrets: Iterable[str], text: str | bytes) -> list[str]:
    """Which of the secrets stand in it, as they are or encoded for a URL."""
    data = text.encode() if isinstance(text, str) else text
    return [word for word in secrets if any(form.encode() in data for form in {word, quote(word), quote(word, "")})]


@dataclass(slots=True)
class Witness:
    """Looks everywhere. `answers` are errors that Mimic itself made, by what provoked them."""

    mimic: Mimic
    tokens: TokenService
    collector: Collector | None = None
    answers: list[tuple[str, Response]] = field(default_factory=list)

    async def ask(self, why: str, data: bytes, method: bytes = b"POST", *, code: str) -> None:
        """A call that Mimic itself answers with an error of this code."""
        got = await ask(self.mimic.port, data, method)
        assert (why, got.error()["code"]) == (why, code)
        self.answers.append((why, got))

    async def judge(self, *when: str) -> None:
        """Assert that no secret stands in anything that is shown now or was shown until now."""
        secrets = [*WORDS, *self.tokens.issued]
        found = {f"answer to {why}": in_text(secrets, _raw(got)) for why, got in self.answers}
        for path, accept in SHOWN.items():
            fields = [(b"accept", accept), (b"connection", b"close")]
            got = await ask(self.mimic.admin_port, request(b"GET", path.encode(), fields=fields), b"GET")
            assert got.status == 200 or (path, got.status) == ("/readyz", 503), path
            found[path] = in_text(secrets, _raw(got))
        found |= self._written(secrets)
        leaks = {where: words for where, words in found.items() if words}
        assert not leaks, f"{' '.join(when)}: {leaks}"

    def judge_what_is_left(self) -> None:
        """The same of what a process that has ended leaves behind."""
        leaks = {where: words for where, words in self._written([*WORDS, *self.tokens.issued]).items() if words}
        assert not leaks, leaks

    def _written(self, secrets: list[str]) -> dict[str, list[str]]:
        found = {"log": in_text(secrets, self.mimic.log)}
        if self.collector is not None:
            found["spans"] = in_text(secrets, b"".join(posted.body for posted in self.collector.posted))
        return found


def _raw(got: Response) -> bytes:
    return b"\n".join([*(name + b": " + value for name, value in got.headers), got.body])


FORMS = ("json", "console")
BODY = json.dumps({"model": "m", "messages": [{"role": "user", "content": PROMPT}]}).encode()


def chat(body: bytes = BODY, query: bytes = b"?note=" + QUERY.encode()) -> bytes:
    """A call for a completion, full of planted words."""
    return request(b"POST", b"/v1/chat/completions" + query, body, CALLER_FIELDS)


Planting = Callable[..., AbstractAsyncContextManager[Witness]]


@asynccontextmanager
async def planting(
    form: str, folder: Path, backend: Backend, tokens: TokenService, *, ready: bool = True, **more: str
) -> AsyncIterator[Witness]:
    """A Mimic full of planted words, all that it tells switched on. json: spans to a collector, else to its output."""
    tokens.auth_code = AUTH_CODE
    with Collector() as collector:
        environ = settings(
            backend,
            tokens,
            LOG_FORMAT=form,
            CHAT_API_URL=f"{backend.url}/v1?api-key={BASE_QUERY}",
            OTEL_TRACES_EXPORTER="otlp" if form == "json" else "console",
            OTEL_EXPORTER_OTLP_ENDPOINT=collector.url,
            OTEL_EXPORTER_OTLP_HEADERS=f"authorization={OTLP_KEY}",
            OTEL_TRACES_SAMPLER="always_on",
            OTEL_BSP_SCHEDULE_DELAY="50",
            MIMIC_GENAI_METRICS="True",
            TOKEN_MIN_REFRESH_INTERVAL="0.1",
            RETRY_DEAD_CONNECTION="False",
            **more,
        )
        async with running(environ, folder, ready=ready, stop=False) as mimic:
            witness = Witness(mimic, tokens, collector)
            yield witness
            await witness.judge("at the end")
            if mimic.exit_code is None:
                mimic.signal(signal.SIGTERM)
            await mimic.ended()
            witness.judge_what_is_left()
            _has_seen(witness, form)


def _has_seen(witness: Witness, form: str) -> None:
    """Nothing was skipped: there were lines, and spans, of what was looked at."""
    assert "mimic.relay" in witness.mimic.log or form == "console"
    assert "DEBUG" in witness.mimic.log
    if form == "json":
        assert witness.collector is not None
        assert witness.collector.spans
        assert all(posted.headers["authorization"] == OTLP_KEY for posted in witness.collector.posted)
    else:
        assert '"trace_id"' in witness.mimic.log or '"traceId"' in witness.mimic.log
