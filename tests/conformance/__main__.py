"""`python -m tests.conformance`: the suites of the official SDKs, and two frameworks, through Mimic and its demo.

All of it runs once for each form in which the demo's backend can speak (forms.py); `--form` chooses some. Exit codes: 0
everything passed, 1 something did not, 2 something could not be set up. Node is optional on a laptop; `--require-node`
(for CI) makes its absence a failure.
"""

import argparse
import subprocess
import sys
import time
from collections.abc import Callable, Sequence

from tests.conformance import frameworks_suite, python_suite, typescript_suite
from tests.conformance.demo_process import ROOT, demo
from tests.conformance.forms import FORMS, Form

CACHE = ROOT / ".cache" / "conformance"
FLOATS = {"DEMO_ALWAYS_FLOAT_EMBEDDINGS": "1", "ENVELOPE_EMBEDDING_ENCODING": "float"}
"""The strict cases of the Python suite want float lists even where the SDK asked for base64."""


def main(argv: Sequence[str]) -> int:
    """Runs all suites."""
    parser = argparse.ArgumentParser(prog="python -m tests.conformance")
    parser.add_argument("--require-node", action="store_true", help="fail where Node is missing or too old")
    names = [form.name for form in FORMS]
    parser.add_argument("--form", action="append", choices=names, help="only this form; may be given several times")
    arguments = parser.parse_args(argv)
    CACHE.mkdir(parents=True, exist_ok=True)
    without_node = typescript_suite.unavailable()
    if without_node and arguments.require_node:
        print(f"conformance: {without_node}", file=sys.stderr)
        return 2
    try:
        python_suite.prepare(CACHE)
        frameworks_suite.prepare(CACHE)
        if without_node is None:
            typescript_suite.prepare(CACHE)
    except subprocess.CalledProcessError as error:
        print(f"conformance: {error}", file=sys.stderr)
        return 2
    chosen = [form for form in FORMS if form.name in (arguments.form or names)]
    failed = [failure for form in chosen for failure in _failures(form, without_node)]
    if without_node is not None:
        print(f"\nTypeScript was left out: {without_node}")
    print(f"\n{len(chosen)} forms; " + (f"failed: {', '.join(failed)}" if failed else "everything passed"))
    return 1 if failed else 0


def _failures(form: Form, without_node: str | None) -> list[str]:
    """The suites that did not pass over this form."""
    failed = []

    def run(suite: str, passes: Callable[[], bool]) -> None:
        print(f"\n{form.name}: {suite}", flush=True)
        began = time.monotonic()
        if not passes():
            failed.append(f"{suite} over {form.name}")
        print(f"{time.monotonic() - began:.1f} s", flush=True)

    with demo(CACHE, FLOATS, form.arguments) as base_url:
        run(f"the tests shipped with openai {python_suite.OPENAI_VERSION}", lambda: python_suite.run(CACHE, base_url))
    with demo(CACHE, arguments=form.arguments) as base_url:
        run("LangChain and LlamaIndex", lambda: frameworks_suite.run(CACHE, base_url, form))
        if without_node is None:
            run("the official TypeScript SDK", lambda: typescript_suite.run(CACHE, base_url, form))
    return failed


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
