"""The script of `helm test`, against servers that answer as a webhook does, and as it should not."""

import http.server
import json
import os
import ssl
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import trustme

from fakes.helm import one, render

Answer = Callable[[dict[str, Any]], dict[str, Any]]


@contextmanager
def webhook(answer: Answer, authority: trustme.CA, seen: list[dict[str, Any]]) -> Iterator[str]:
    """A TLS server for localhost; its URL."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            review = json.loads(self.rfile.read(int(self.headers["content-length"])))
            seen.append(review)
            assert self.path.startswith("/pods?")
            body = json.dumps({**review, "response": answer(review["request"])}).encode()
            self.send_response(200)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Says nothing."""

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"https://localhost:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def asked(url: str, issuers: Path) -> subprocess.CompletedProcess[str]:
    """The test pod's command, with another URL."""
    (container,) = one(render(), "Pod", "mimic-test")["spec"]["containers"]
    text, service, namespace, file = container["args"]
    assert service == "https://mimic-webhook.mimic-system.svc"
    assert file == "/run/mimic/ca/ca.crt"
    command = [sys.executable, "-c", text, url, namespace, str(issuers)]
    environ = {"PATH": os.environ["PATH"]}
    return subprocess.run(command, env=environ, capture_output=True, text=True, timeout=30, check=False)


def denied(request: dict[str, Any]) -> dict[str, Any]:
    name = request["object"]["metadata"]["annotations"]["mimic.dev/backend"]
    return {"uid": request["uid"], "allowed": False, "status": {"message": f"There is no MimicBackend {name}."}}


ANSWERS: dict[str, tuple[Answer, bool]] = {
    "refuses the unknown backend": (denied, True),
    "admits": (lambda request: {"uid": request["uid"], "allowed": True}, False),
    "refuses for another reason": (
        lambda request: {"uid": request["uid"], "allowed": False, "status": {"message": "broken"}},
        False,
    ),
    "answers another request": (lambda request: {**denied(request), "uid": "other"}, False),
}


@pytest.mark.parametrize("what", ANSWERS)
def test_only_mimics_own_answer_passes(what: str, tmp_path: Path):
    answer, passes = ANSWERS[what]
    authority, seen = trustme.CA(), []  # type: ignore[var-annotated]
    authority.cert_pem.write_to_path(tmp_path / "ca.crt")
    with webhook(answer, authority, seen) as url:
        ended = asked(url, tmp_path / "ca.crt")
    assert (ended.returncode == 0) == passes, ended.stderr
    (review,) = seen
    assert review["request"]["dryRun"] is True
    assert review["request"]["object"]["metadata"]["labels"] == {"mimic.dev/inject": "true"}


def test_a_certificate_of_somebody_else_fails(tmp_path: Path):
    trustme.CA().cert_pem.write_to_path(tmp_path / "ca.crt")
    with webhook(denied, trustme.CA(), []) as url:
        ended = asked(url, tmp_path / "ca.crt")
    assert ended.returncode != 0
    assert "CERTIFICATE_VERIFY_FAILED" in ended.stderr


def test_the_pod_has_of_the_secret_the_issuers_alone():
    pod = one(render(), "Pod", "mimic-test")["spec"]
    (volume,) = pod["volumes"]
    assert volume["secret"]["items"] == [{"key": "ca.crt", "path": "ca.crt"}]
