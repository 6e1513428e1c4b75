"""Who takes part: each a process that listens on 127.0.0.1, takes POST /v1/chat/completions and relays it."""

import dataclasses
import json
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from bench import backend, envoy
from bench.collector import Collector
from bench.environment import ROOT, Place
from bench.processes import Answer, BenchError, Command, ask, free_port
from bench.token_service import TokenService

AUTH_CODE = "bench-authorization-code"
FIXED_TOKEN = "fixed-token"
QUIET = {"LOG_LEVEL": "WARNING"}
PATH = "/v1/chat/completions"


@dataclass(frozen=True, slots=True)
class Contestant:
    """One way from the load to the backend.

    command is None for the direct way. ready tells whether it would serve now; credential gives the Authorization
    fields of which the backend has to see one, None where the caller's own arrives.
    """

    name: str
    title: str
    url: str
    command: Command | None
    ready: Callable[[], bool]
    credential: Callable[[], set[str]] | None
    envelope: bool = False
    """The backend's answers came in an envelope and are OpenAI's only since the proxy made them so."""


def line_up(place: Place, backend_port: int, tokens: TokenService, collector: Collector) -> list[Contestant]:
    """All contestants, Mimic first; their configuration files are written, their processes not yet started."""
    pure = ROOT / "service"
    best = place.compiled or pure

    def mimic(name: str, title: str, package: Path, **environ: str) -> Contestant:
        return _mimic(place, backend_port, tokens, name=name, title=title, package=package, environ=environ)

    def traced(share: str) -> dict[str, str]:
        return {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.url, "OTEL_TRACES_SAMPLER_ARG": share}

    envelope = mimic("mimic-envelope", "Mimic, envelope dialect", best, **gateway(backend_port))
    pure_too = [mimic("mimic-pure", "Mimic, quiet, not compiled", pure, **QUIET)] if place.compiled is not None else []
    return [
        mimic("mimic", "Mimic", best),
        mimic("mimic-traced", "Mimic, 10 % traced", best, **traced("0.1")),
        mimic("mimic-traced-all", "Mimic, all traced", best, **traced("1.0")),
        mimic("mimic-quiet", "Mimic, no log lines", best, **QUIET),
        dataclasses.replace(envelope, envelope=True),
        *pure_too,
        _asgi(place, backend_port),
        _envoy(place, backend_port, tokens),
        _nginx(place, backend_port),
        _direct(backend_port),
    ]


def both_dialects(
    place: Place, backend_port: int, tokens: TokenService, suffix: str, title: str, package: Path
) -> list[Contestant]:
    """Mimic as `package` has it, in front of a backend of each dialect."""

    def mimic(name: str, kind: str, **environ: str) -> Contestant:
        name, kind = f"{name}{suffix}", f"{kind}{title}"
        return _mimic(place, backend_port, tokens, name=name, title=kind, package=package, environ=environ)

    envelope = mimic("mimic-envelope", "Mimic, envelope dialect", **gateway(backend_port))
    return [mimic("mimic", "Mimic"), dataclasses.replace(envelope, envelope=True)]


def gateway(backend_port: int) -> dict[str, str]:
    """The settings for a backend of the other dialect."""
    return {
        "DIALECT": "envelope",
        "CHAT_API_URL": f"http://127.0.0.1:{backend_port}/gateway/chat",
        "EMBEDDING_API_URL": f"http://127.0.0.1:{backend_port}/gateway/embeddings",
    }


def verify(contestant: Contestant) -> None:
    """BenchError unless both answers arrive byte for byte and the backend sees the right credential.

    Those that came in an envelope have to say the same.
    """
    for want, expected, media_type in (
        ("chat", backend.chat_answer(), "application/json"),
        ("stream", backend.stream_answer(), "text/event-stream"),
    ):
        answer = _post(contestant.url, want)
        if answer is None or answer.status != 200 or not _same(contestant, want, answer.body, expected):
            raise BenchError(f"{contestant.name}: the {want} answer is not the backend's: {answer}")
        if not answer.content_type.startswith(media_type):
            raise BenchError(f"{contestant.name}: the {want} answer came as {answer.content_type!r}")
    if contestant.credential is not None:
        recorded = _post(contestant.url, "record")
        seen = _recorded(contestant, recorded.body) if recorded is not None else None
        if seen not in contestant.credential():
            raise BenchError(f"{contestant.name}: the backend saw the credential {seen!r}")


def _same(contestant: Contestant, want: str, body: bytes, expected: bytes) -> bool:
    if not contestant.envelope:
        return body == expected
    if want == "chat":
        return bool(json.loads(body)["choices"] == json.loads(expected)["choices"])
    events, wanted = body.split(b"\n\n"), expected.split(b"\n\n")
    if len(events) != len(wanted) or events[-2:] != wanted[-2:]:
        return False
    return _said(events) == _said(wanted)


def _said(events: list[bytes]) -> str:
    deltas = [json.loads(event[6:])["choices"][0]["delta"] for event in events[:-2]]
    return "".join(delta.get("content") or "" for delta in deltas)


def _recorded(contestant: Contestant, body: bytes) -> str:
    recorded = json.loads(body)
    if contestant.envelope:
        return f"Bearer {recorded['choices'][0]['message']['content']}"
    return str(recorded["authorization"])


def _post(url: str, want: str) -> Answer | None:
    call = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "hello"}], "stream": want == "stream"}
    headers = {"content-type": "application/json", "authorization": "Bearer callers-own", "x-bench-want": want}
    return ask(url, json.dumps(call).encode(), headers)


def _mimic(
    place: Place,
    backend_port: int,
    tokens: TokenService,
    *,
    name: str,
    title: str,
    package: Path,
    environ: Mapping[str, str],
) -> Contestant:
    port, admin_port = free_port(), free_port()
    environ = {
        "PYTHONPATH": str(package),
        "PORT": str(port),
        "ADMIN_PORT": str(admin_port),
        "TOKEN_URL": f"http://127.0.0.1:{tokens.port}/token",
        "AUTH_CODE": AUTH_CODE,
        "CHAT_API_URL": f"http://127.0.0.1:{backend_port}/v1",
        "EMBEDDING_API_URL": f"http://127.0.0.1:{backend_port}/v1",
        **environ,
    }

    def ready() -> bool:
        answer = ask(f"http://127.0.0.1:{admin_port}/readyz")
        return answer is not None and answer.status == 200

    return Contestant(
        name=name,
        title=title,
        url=f"http://127.0.0.1:{port}{PATH}",
        command=_command(place, name, [sys.executable, "-m", "mimic_proxy", "serve"], environ),
        ready=ready,
        credential=lambda: {f"Bearer {token}" for token in tokens.issued["auth_code"]},
    )


def _asgi(place: Place, backend_port: int) -> Contestant:
    port = free_port()
    argv = [str(place.peers / "bin" / "uvicorn"), "reference_asgi:app", "--app-dir", str(ROOT / "bench")]
    argv += ["--host", "127.0.0.1", "--port", str(port), "--no-access-log", "--log-level", "warning"]
    argv += ["--loop", "uvloop", "--http", "httptools"]
    environ = {"BACKEND": f"http://127.0.0.1:{backend_port}", "ACCESS_TOKEN": FIXED_TOKEN}
    url = f"http://127.0.0.1:{port}{PATH}"
    return Contestant(
        name="asgi",
        title="uvicorn ASGI + aiohttp",
        url=url,
        command=_command(place, "asgi", argv, environ),
        ready=_serves(url),
        credential=lambda: {f"Bearer {FIXED_TOKEN}"},
    )


def _envoy(place: Place, backend_port: int, tokens: TokenService) -> Contestant:
    port = free_port()
    bootstrap = place.folder / "envoy.json"
    bootstrap.write_text(envoy.bootstrap(port, backend_port, tokens.port))
    argv = [str(place.peers / "bin" / "envoy"), "--config-path", str(bootstrap), "--concurrency", "1"]
    argv += ["--disable-hot-restart", "--log-level", "warning"]
    url = f"http://127.0.0.1:{port}{PATH}"

    def ready() -> bool:
        # It listens before the token is there and then sends calls without one: wait for the token, too.
        answer = _post(url, "record")
        return answer is not None and b"client_credentials" in answer.body

    return Contestant(
        name="envoy",
        title="Envoy, OAuth2 injector",
        url=url,
        command=_command(place, "envoy", argv, {}),
        ready=ready,
        credential=lambda: {f"Bearer {token}" for token in tokens.issued["client_credentials"]},
    )


def _nginx(place: Place, backend_port: int) -> Contestant:
    port = free_port()
    config = backend.write_relay(place.folder, port, backend_port, FIXED_TOKEN)
    url = f"http://127.0.0.1:{port}{PATH}"
    return Contestant(
        name="nginx",
        title="nginx, fixed token",
        url=url,
        command=nginx_command(place, "relay", str(config)),
        ready=_serves(url),
        credential=lambda: {f"Bearer {FIXED_TOKEN}"},
    )


def _direct(backend_port: int) -> Contestant:
    url = f"http://127.0.0.1:{backend_port}{PATH}"
    return Contestant("direct", "no proxy at all", url, None, ready=_serves(url), credential=None)


def nginx_command(place: Place, name: str, config: str) -> Command:
    """nginx on one of our configuration files; its early messages go beside it, not to the system's log."""
    argv = [place.tools["nginx"], "-c", config, "-e", str(place.folder / f"{name}.error.log")]
    return _command(place, name, argv, {})


def _command(place: Place, name: str, argv: list[str], environ: Mapping[str, str]) -> Command:
    return Command(argv=argv, environ=environ, log=place.folder / f"{name}.log", folder=place.folder)


def _serves(url: str) -> Callable[[], bool]:
    def ready() -> bool:
        answer = _post(url, "chat")
        return answer is not None and answer.status == 200

    return ready
