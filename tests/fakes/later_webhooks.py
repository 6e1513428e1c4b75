"""Another company's mutating webhook, which the API server calls after Mimic's."""

import base64
import json
import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

import httpx2
import trustme

from fakes.manifests import Manifest

PATH = "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations"
Operations = Callable[[Manifest], list[dict[str, Any]]]
"""From a pod to an RFC 6902 patch."""


@contextmanager
def later_webhook(admin: httpx2.Client, namespace: str, operations: Operations) -> Iterator[None]:
    """Registered for the pods of one namespace; configurations are called in the order of their names."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            request = json.loads(self.rfile.read(int(self.headers["content-length"])))["request"]
            patch = base64.b64encode(json.dumps(operations(request["object"])).encode()).decode()
            response = {"uid": request["uid"], "allowed": True, "patchType": "JSONPatch", "patch": patch}
            body = json.dumps({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": response})
            self.send_response(200)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body.encode())

        def log_message(self, *_: object) -> None:
            """Nothing."""

    authority = trustme.CA(key_type=trustme.KeyType.ECDSA)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    name = f"zz-{namespace}"
    webhook = {
        "name": "later.example.com",
        "clientConfig": {
            "url": f"https://127.0.0.1:{server.server_port}/",
            "caBundle": base64.b64encode(authority.cert_pem.bytes()).decode(),
        },
        "rules": [{"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"]}],
        "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": namespace}},
        "sideEffects": "None",
        "failurePolicy": "Fail",
        "admissionReviewVersions": ["v1"],
        "timeoutSeconds": 5,
    }
    thread = Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        admin.post(PATH, json={"metadata": {"name": name}, "webhooks": [webhook]}).raise_for_status()
        yield
    finally:
        admin.delete(f"{PATH}/{name}")
        server.shutdown()
        server.server_close()
        thread.join()
