"""`mimic-proxy demo`: an embedded backend and a Mimic in front of it, in one process and one event loop."""

import asyncio
import logging
import socket
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

from fastapi import FastAPI

from mimic_proxy.app.mimic import Mimic
from mimic_proxy.app.running import web_server
from mimic_proxy.cli.check import obtained
from mimic_proxy.cli.command import DOTENV, Say, say
from mimic_proxy.cli.serve import logged, serving
from mimic_proxy.settings.fields import NAMES, Settings, SettingsError, load
from mimic_proxy.settings.sources import Problem
from mimic_proxy.telemetry.logs import LineWriter

HONOURED = frozenset(
    {
        "HOST",
        "PORT",
        "ADMIN_HOST",
        "ADMIN_PORT",
        "STATUS_NETWORKS",
        "ALLOWED_HOSTS",
        "ALLOWED_ORIGINS",
        "TLS_CERT",
        "TLS_KEY",
        "ENVELOPE_EMBEDDING_ENCODING",
        "LOG_LEVEL",
        "LOG_FORMAT",
        "DRAIN_DELAY",
        "DRAIN_TIMEOUT",
        "MIMIC_GENAI_METRICS",
        "MIMIC_GENAI_PROVIDER",
        "MIMIC_GENAI_SPANS",
        "MIMIC_TRACE_UPSTREAM",
    }
)
"""Settings of the user's that count in a demo: where it listens, how it answers, what it tells. All others are about a
backend."""
DEFAULTS = {"LOG_FORMAT": "console"}
BACKEND_STOP_SECONDS = 1.0
GREETING = """
Mimic is ready. In front: {base}/v1, the OpenAI API. Behind: a token service and a {behind}, both embedded.

  curl -N {base}/v1/chat/completions -H 'content-type: application/json' \\
    -d '{{"model": "{model}", "stream": true, "messages": [{{"role": "user", "content": "Hello!"}}]}}'

  # pip install openai
  from openai import OpenAI

  client = OpenAI(base_url="{base}/v1", api_key="any")
  stream = client.chat.completions.create(
      model="{model}", stream=True, messages=[{{"role": "user", "content": "Hello!"}}]
  )
  for chunk in stream:
      print(chunk.choices[0].delta.content or "", end="", flush=True)

How it is: http://localhost:{admin_port}/ in a browser. Ctrl-C ends it.
"""


def run(environ: Mapping[str, str]) -> bool:
    """The command; DEMO_DIALECT and so on are its options."""
    # Imported here: who serves a real backend carries no demo along.
    from mimic_proxy.demo.backend import create_app
    from mimic_proxy.demo.oauth import Credentials
    from mimic_proxy.demo.options import DemoOptions

    try:
        options = DemoOptions.from_environ(environ)
    except ValueError as error:
        name, _, wrong = str(error).partition(": ")
        raise SettingsError([Problem(name, wrong)]) from None
    credentials = Credentials(options.code)
    with (
        tempfile.TemporaryDirectory(prefix="mimic-demo-") as folder,
        socket.create_server(("127.0.0.1", 0)) as listener,
    ):
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        grant = credentials.settings(options.grant, Path(folder), time.time())
        settings = load(
            environ,
            DOTENV,
            overrides=overrides(url, grant, options.dialect, options.stream_text),
            defaults=DEFAULTS,
        )
        app = create_app(options, credentials=credentials)
        return demonstrate(settings, app, listener, "demo/chat-small", say)


def overrides(
    url: str, grant: Mapping[str, str], dialect: str = "openai", stream_text: str = "delta"
) -> dict[str, str | None]:
    """Settings that point to the embedded backend at `url` and nowhere else.

    grant: those that get a token there. dialect: openai, or envelope for its gateway. stream_text: delta or
    cumulative, what an event of that holds.
    """
    ours: dict[str, str | None] = {
        **dict.fromkeys(NAMES.all - HONOURED),
        "TOKEN_URL": f"{url}/token",
        **grant,
    }
    if dialect == "openai":
        return {**ours, "CHAT_API_URL": f"{url}/v1", "EMBEDDING_API_URL": f"{url}/v1"}
    return {
        **ours,
        "DIALECT": dialect,
        "CHAT_API_URL": f"{url}/gateway/chat",
        "EMBEDDING_API_URL": f"{url}/gateway/embeddings",
        "ENVELOPE_MODELS_URL": f"{url}/gateway/models",
        "ENVELOPE_STREAM_TEXT": stream_text,
    }


def demonstrate(settings: Settings, backend: FastAPI, listener: socket.socket, model: str, say: Say) -> bool:
    """Serves both until a signal or `quit`; True if it ended well. Raises CannotListen.

    listener: a bound socket for the backend. model: one of its models, for the examples that `say` gets once they work.
    """

    async def demonstrating(output: LineWriter) -> None:
        # The backend breaks off where a caller asks it to: uvicorn takes that for a fault of the application's.
        logging.getLogger("uvicorn.error").addFilter(lambda record: "without completing response" not in record.msg)
        server = web_server(backend)
        serving_backend = asyncio.create_task(server.serve([listener]))
        greetings: list[asyncio.Task[None]] = []

        def greet(mimic: Mimic, address: str) -> None:
            greetings.append(asyncio.create_task(_greeting(mimic, address, model, say)))

        try:
            await serving(settings, output, greet)
        finally:
            for greeting in greetings:
                greeting.cancel()
            server.should_exit = True
            await asyncio.wait([serving_backend], timeout=BACKEND_STOP_SECONDS)

    return logged(settings, demonstrating)


async def _greeting(mimic: Mimic, address: str, model: str, say: Say) -> None:
    """Waits for the first token, so that the examples work at once, and prints them."""
    await obtained(mimic)
    scheme = "http" if mimic.settings.tls_cert is None else "https"
    place = address.replace("0.0.0.0", "localhost").replace("127.0.0.1", "localhost")
    behind = "model" if mimic.settings.dialect == "openai" else "gateway with an envelope of its own"
    say(GREETING.format(base=f"{scheme}://{place}", model=model, behind=behind, admin_port=mimic.settings.admin_port))
