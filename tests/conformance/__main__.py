"""`python -m tests.conformance`: what the official SDKs bring along, through Mimic with each of the demo's backends
behind it: the OpenAI API, and its gateway in every form of its streams.

Exit codes: 0 everything passed, 1 something did not, 2 something could not be set up. Node is optional on a laptop;
`--require-node` (for CI) makes its absence a failure.
"""

import argparse
import subprocess
import sys
from collections.abc import Sequence

from tests.conformance import python_suite, typescript_suite
from tests.conformance.demo_process import BACKENDS, ROOT, demo

CACHE = ROOT / ".cache" / "conformance"
FLOATS = {"DEMO_ALWAYS_FLOAT_EMBEDDINGS": "1", "ENVELOPE_EMBEDDING_ENCODING": "float"}
"""The strict cases of the Python suite want float lists even where the SDK asked for base64."""


def main(argv: Sequence[str]) -> int:
    """Runs both suites."""
    parser = argparse.ArgumentParser(prog="python -m tests.conformance")
    parser.add_argument("--require-node", action="store_true", help="fail where Node is missing or too old")
    arguments = parser.parse_args(argv)
    CACHE.mkdir(parents=True, exist_ok=True)
    without_node = typescript_suite.unavailable()
    if without_node and arguments.require_node:
        print(f"conformance: {without_node}", file=sys.stderr)
        return 2
    try:
        python_suite.prepare(CACHE)
        if without_node is None:
            typescript_suite.prepare(CACHE)
    except subprocess.CalledProcessError as error:
        print(f"conformance: {error}", file=sys.stderr)
        return 2
    return 0 if _run(without_node) else 1


def _run(without_node: str | None) -> bool:
    if without_node is not None:
        print(f"\nTypeScript is left out: {without_node}")
    passed = [_run_over(backend, without_node is None) for backend in BACKENDS]
    return all(passed)


def _run_over(backend: str, with_node: bool) -> bool:
    print(f"\nBackend {backend}: Python, the tests shipped with openai {python_suite.OPENAI_VERSION}", flush=True)
    with demo(CACHE, {**BACKENDS[backend], **FLOATS}) as base_url:
        python_passed = python_suite.run(CACHE, base_url)
    if not with_node:
        return python_passed
    print(f"\nBackend {backend}: TypeScript, the official SDK", flush=True)
    with demo(CACHE, BACKENDS[backend]) as base_url:
        typescript_passed = typescript_suite.run(CACHE, base_url, streams=backend != "plain")
    return python_passed and typescript_passed


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
