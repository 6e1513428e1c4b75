"""The command line: `mimic-proxy serve | demo | check | quit`.

Here the process meets its surroundings: arguments, environment, standard streams. Exit codes: 0 ended well, 1 ended
unexpectedly or a check that failed, 2 wrong usage or settings, 3 no address to listen on.
"""

import argparse
import os
import socket
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import get_args

from mimic_proxy.telemetry.tracing.environment import importable

with importable(os.environ):
    from mimic_proxy import demonstrate, quit
    from mimic_proxy.app import Mimic
    from mimic_proxy.check import check
    from mimic_proxy.configuration.sources import Problem, config_file
    from mimic_proxy.listen import CannotListen
    from mimic_proxy.release import own_version
    from mimic_proxy.serve import in_a_loop, serve
    from mimic_proxy.settings import Grant, SettingsError, load, load_admin_port
    from mimic_proxy.telemetry.logs import LineWriter, configure
    from mimic_proxy.telemetry.port import Telemetry

OK, FAILED, WRONG_SETTINGS, CANNOT_LISTEN = 0, 1, 2, 3
DOTENV = Path(".env")
EXIT_CODES = "exit codes: 0 ended well, 1 unexpected end or failed check, 2 usage or settings, 3 cannot listen"


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command; returns its exit code."""
    asked = vars(_parser().parse_args(arguments))
    command = COMMANDS[asked.pop("command")][0]
    prefix = asked.pop("prefix")
    # An option is the variable of its name, and wins over it.
    options = {f"{prefix}_{name.upper()}": value for name, value in asked.items() if value is not None}
    try:
        return OK if command({**os.environ, **options}) else FAILED
    except SettingsError as error:
        print(f"mimic-proxy: {error}", file=sys.stderr)
        return WRONG_SETTINGS
    except CannotListen as error:
        print(f"mimic-proxy: {error}", file=sys.stderr)
        return CANNOT_LISTEN
    except KeyboardInterrupt:
        # Only where the event loop cannot handle signals: elsewhere the first one begins a graceful stop.
        return FAILED


def _serve(environ: Mapping[str, str]) -> bool:
    return serve(load(environ, DOTENV), lambda: load(environ, DOTENV), config_file(environ, DOTENV))


def _demo(environ: Mapping[str, str]) -> bool:
    # Imported here: who serves a real backend carries no demo along.
    from mimic_proxy.demo.backend import create_app
    from mimic_proxy.demo.credentials import Credentials
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
        overrides = demonstrate.overrides(url, grant, options.dialect, options.stream_text)
        settings = load(environ, DOTENV, overrides=overrides, defaults=demonstrate.DEFAULTS)
        app = create_app(options, credentials=credentials)
        return demonstrate.demonstrate(settings, app, listener, "demo/chat-small", _say)


def _check(environ: Mapping[str, str]) -> bool:
    settings = load(environ, DOTENV)
    configure(LineWriter(sys.stderr.buffer), level="ERROR", style="console")

    async def checking() -> bool:
        mimic = Mimic(settings, Telemetry())
        try:
            return await check(mimic, _say, environ.get("CHECK_CHAT") or None)
        finally:
            await mimic.close()

    return in_a_loop(checking())


def _quit(environ: Mapping[str, str]) -> bool:
    return quit.stop(load_admin_port(environ, DOTENV), say=_say, clock=time.monotonic, sleep=time.sleep)


def _say(line: str) -> None:
    print(line, flush=True)


COMMANDS: dict[str, tuple[Callable[[Mapping[str, str]], bool], str]] = {
    "serve": (_serve, "carry calls to the backend that environment, .env and MIMIC_CONFIG name"),
    "demo": (_demo, "serve in front of an embedded backend: nothing to set, nothing leaves this machine"),
    "check": (
        _check,
        "show where calls go, fetch one token, ask for the models (and a chat, if told so), say what is wrong",
    ),
    "quit": (_quit, "ask the Mimic that runs on this machine to drain and end, and wait until it has"),
}


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="mimic-proxy",
        description="An OpenAI-compatible proxy that carries every call to your backend with a valid access token.",
        epilog=EXIT_CODES,
    )
    parser.add_argument("--version", action="version", version=f"mimic-proxy {own_version()}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="command")
    for name, (_, purpose) in COMMANDS.items():
        command = commands.add_parser(name, help=purpose, description=f"{name}: {purpose}.", epilog=EXIT_CODES)
        command.set_defaults(prefix=name.upper())
        if name == "demo":
            _add_demo_options(command)
        elif name == "check":
            command.add_argument("--chat", metavar="MODEL", help="also send one small chat to this model")
    return parser


def _add_demo_options(demo: argparse.ArgumentParser) -> None:
    demo.add_argument("--dialect", choices=("openai", "envelope"), help="how the backend speaks (openai)")
    demo.add_argument("--stream", choices=("sse", "ndjson", "plain"), help="how the envelope's backend streams (sse)")
    demo.add_argument(
        "--stream-text", choices=("delta", "cumulative"), help="what each event of such a stream holds (delta)"
    )
    told = "how its token service is asked: %(choices)s (auth_code)"
    demo.add_argument("--grant", choices=get_args(Grant), help=told, metavar="GRANT")


if __name__ == "__main__":
    sys.exit(main())
