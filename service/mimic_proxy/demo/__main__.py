"""`python -m mimic_proxy.demo --port N`: the demo backend alone, on 127.0.0.1."""

import argparse
import os
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import get_args

import uvicorn

from mimic_proxy.demo.backend import create_app
from mimic_proxy.demo.options import DemoOptions, StreamForm, StreamText, lifetime


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs until it is stopped. Settings come from DEMO_* variables; options win. Returns the exit code."""
    asked = _parser().parse_args(arguments)
    try:
        options = _options(asked, DemoOptions.from_environ(os.environ))
    except ValueError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    uvicorn.run(
        create_app(options),
        host=asked.host,
        port=asked.port,
        ssl_certfile=asked.tls_cert,
        ssl_keyfile=asked.tls_key,
        log_level="warning",
        access_log=False,
    )
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m mimic_proxy.demo", description="A backend to try Mimic on.")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (127.0.0.1)")
    parser.add_argument("--port", type=int, default=8080, help="port to listen on (8080)")
    parser.add_argument("--lifetime", type=_lifetime, metavar="SECONDS", help="life of an access token (60)")
    parser.add_argument("--code", help="the code that is worth a token (demo-code)")
    parser.add_argument("--float-embeddings", action="store_true", help="float lists even where base64 is asked for")
    parser.add_argument("--any-token", action="store_true", help="accept any bearer token")
    parser.add_argument("--stream", choices=get_args(StreamForm), help="how the gateway streams (sse)")
    parser.add_argument("--stream-text", choices=get_args(StreamText), help="what an event of it holds (delta)")
    parser.add_argument("--tls-cert", type=Path, metavar="FILE", help="certificate chain; serves https")
    parser.add_argument("--tls-key", type=Path, metavar="FILE", help="key of the certificate")
    return parser


def _lifetime(text: str) -> float:
    try:
        return lifetime(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _options(asked: argparse.Namespace, options: DemoOptions) -> DemoOptions:
    return replace(
        options,
        code=asked.code or options.code,
        lifetime=asked.lifetime or options.lifetime,
        any_token=asked.any_token or options.any_token,
        always_float=asked.float_embeddings or options.always_float,
        stream=asked.stream or options.stream,
        stream_text=asked.stream_text or options.stream_text,
    )


if __name__ == "__main__":
    sys.exit(main())
