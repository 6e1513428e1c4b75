"""Where the traces of one benchmark run go: takes OTLP over HTTP and keeps nothing but how much came.

A thread of the benchmark, on the core of the load: a collector's own work is not what is measured.
"""

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Collector:
    """Serves on 127.0.0.1:`port` from construction until `close()`."""

    def __init__(self) -> None:
        self.posts = 0
        self.bytes = 0
        collector = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                collector.bytes += len(self.rfile.read(int(self.headers.get("content-length", "0"))))
                collector.posts += 1
                # An empty ExportTraceServiceResponse: all was taken (OTLP specification, "OTLP/HTTP Response").
                self.send_response(200)
                self.send_header("content-type", "application/x-protobuf")
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, format: str, *args: object) -> None:
                """Nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.port: int = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def close(self) -> None:
        """Stops serving."""
        self._server.shutdown()
        self._server.server_close()
