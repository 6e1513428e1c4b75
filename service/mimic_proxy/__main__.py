"""The command line: `mimic-proxy serve | demo | check | connect | run | quit`, each a module of `mimic_proxy.cli`.

Exit codes: 0 ended well, 1 ended unexpectedly or a check that failed, 2 wrong usage or settings, 3 no address to listen
on.
"""

import argparse
import os
import shlex
import sys
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from typing import get_args

from mimic_proxy.telemetry.tracing.settings import importable

with importable(os.environ):
    from mimic_proxy.app.listeners import own_version
    from mimic_proxy.app.running import CannotListen
    from mimic_proxy.cli.tools import TOOLS
    from mimic_proxy.settings.fields import Grant, SettingsError

OK, FAILED, WRONG_SETTINGS, CANNOT_LISTEN = 0, 1, 2, 3
EXIT_CODES = "exit codes: 0 ended well, 1 unexpected end or failed check, 2 usage or settings, 3 cannot listen"
Command = Callable[[Mapping[str, str]], bool]
"""Gets the environment, in which options stand as variables; True if it ended well."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command; returns its exit code."""
    asked = vars(_parser().parse_args(arguments))
    prefix = asked.pop("prefix")
    # A process that serves carries no other command along.
    command: Command = import_module(f"mimic_proxy.cli.{asked.pop('command')}").run
    if "command_words" in asked:
        words = asked.pop("command_words")
        asked["command"] = shlex.join(words[1:] if words[:1] == ["--"] else words)
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


COMMANDS = {
    "serve": "carry calls to the backend that environment, .env and MIMIC_CONFIG name",
    "demo": "serve in front of an embedded backend: nothing to set, nothing leaves this machine",
    "check": "show where calls go, fetch a token, list the models (--chat sends a chat), and explain what is wrong",
    "connect": "show, or write, the configuration with which a tool (Codex, Claude Code, ...) calls the running Mimic",
    "run": "run a command with a Mimic beside it, which ends with the command: mimic-proxy run -- COMMAND",
    "quit": "stop the Mimic that runs on this machine gracefully, and wait for its end",
}


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="mimic-proxy",
        description="An OpenAI-compatible proxy that carries every call to your backend with a valid access token.",
        epilog=EXIT_CODES,
    )
    parser.add_argument("--version", action="version", version=f"mimic-proxy {own_version()}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="command")
    for name, purpose in COMMANDS.items():
        command = commands.add_parser(name, help=purpose, description=f"{name}: {purpose}.", epilog=EXIT_CODES)
        command.set_defaults(prefix=name.upper())
        if name == "demo":
            _add_demo_options(command)
        elif name == "check":
            command.add_argument("--chat", metavar="MODEL", help="also send one small chat to this model")
        elif name == "connect":
            _add_connect_options(command)
        elif name == "run":
            command.add_argument("--log", metavar="FILE", help="append Mimic's log to this file (it is discarded)")
            command.add_argument("command_words", nargs=argparse.REMAINDER, metavar="-- COMMAND [ARGUMENT ...]")
    return parser


def _add_connect_options(connect: argparse.ArgumentParser) -> None:
    connect.add_argument("tool", choices=TOOLS, metavar="TOOL", help=", ".join(TOOLS))
    connect.add_argument("--model", metavar="NAME", help="the model to use (the first that the running Mimic lists)")
    connect.add_argument("--url", metavar="URL", help="where Mimic listens (http://localhost:PORT)")
    connect.add_argument(
        "--write",
        action="store_const",
        const="yes",
        help="add it to the tool's configuration file; a backup is kept, and what the file says already stays",
    )


def _add_demo_options(demo: argparse.ArgumentParser) -> None:
    demo.add_argument("--dialect", choices=("openai", "envelope"), help="the API of the backend (openai)")
    demo.add_argument("--stream", choices=("sse", "ndjson", "plain"), help="how the envelope's backend streams (sse)")
    demo.add_argument(
        "--stream-text", choices=("delta", "cumulative"), help="what each event of such a stream holds (delta)"
    )
    told = "the grant of its token service: %(choices)s (auth_code)"
    demo.add_argument("--grant", choices=get_args(Grant), help=told, metavar="GRANT")


if __name__ == "__main__":
    sys.exit(main())
