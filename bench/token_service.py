"""A token service for one benchmark run: a thread of the benchmark, idle while the load runs.

`POST /token` takes Mimic's `{"code": ...}` as JSON, or OAuth2 client credentials as a form or by HTTP basic
(RFC 6749, 2.3.1 and 4.4), and gives an access token that lives for an hour.
"""

import base64
import json
import threading
import urllib.parse
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class TokenService:
    """Serves on 127.0.0.1:`port` from construction until `close()`; `issued` maps a secret's holder to its tokens."""

    def __init__(self, code: str, client: tuple[str, str]) -> None:
        self.code = code
        self.client = client
        self.issued: dict[str, list[str]] = {"auth_code": [], "client_credentials": []}
        service = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("content-length", "0")))
                status, answer = service.answer(self.headers, body)
                payload = json.dumps(answer).encode()
                self.send_response(status)
                self.send_header("content-type", "application/json")
                self.send_header("content-length", str(len(payload)))
                self.end_headers()
                self.wfile.write(payload)

            def log_message(self, format: str, *args: object) -> None:
                """Nothing: the request line is of no interest and the bodies are secrets."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.port: int = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def answer(self, headers: Message, body: bytes) -> tuple[int, dict[str, object]]:
        """Status and JSON for one token request."""
        if (headers.get("content-type") or "").startswith("application/json"):
            grant, valid = "auth_code", json.loads(body) == {"code": self.code}
        else:
            grant, valid = "client_credentials", self._client_of(headers, body) == self.client
        if not valid:
            return 401, {"error": "invalid_client"}
        token = f"{grant}-token-{len(self.issued[grant]) + 1}"
        self.issued[grant].append(token)
        return 200, {"access_token": token, "token_type": "Bearer", "expires_in": 3600}

    @staticmethod
    def _client_of(headers: Message, body: bytes) -> tuple[str, str]:
        form = dict(urllib.parse.parse_qsl(body.decode()))
        scheme, _, credentials = (headers.get("authorization") or "").partition(" ")
        if scheme.lower() == "basic":
            name, _, secret = base64.b64decode(credentials).decode().partition(":")
            return name, secret
        return form.get("client_id", ""), form.get("client_secret", "")

    def close(self) -> None:
        """Stops serving."""
        self._server.shutdown()
        self._server.server_close()
