"""A running Keycloak in development mode with one realm, and the few things an administrator does to it."""

import contextlib
import json
import os
import secrets
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import httpx2

from fakes.free_ports import free_port
from identity.distribution import java, unpacked

UP_WITHIN_SECONDS = 240.0
POLL_SECONDS = 0.1
ADMIN = "admin"
FAST_START = "-XX:TieredStopAtLevel=1 -Xmx768m"
"""For a Java that lives half a minute: measured on two cores, it is up after 11 s instead of 28 s."""


class Keycloak:
    """The realm of a running server. Every call is made by a client of its own and raises for an error status."""

    def __init__(self, url: str, realm: str, password: str) -> None:
        self.url = url
        self.issuer = f"{url}/realms/{realm}"
        self.token_url = f"{self.issuer}/protocol/openid-connect/token"
        self._admin_url = f"{url}/admin/realms/{realm}"
        self._password = password
        self._http = httpx2.Client(trust_env=False, timeout=20.0)

    def token(self, client: Mapping[str, str], **form: str) -> dict[str, Any]:
        """What the token endpoint answers to this form; `client` is its id and, of a confidential one, its secret."""
        return self._json("POST", self.token_url, data={**client, **form})

    def log_in(self, client: Mapping[str, str], username: str, password: str) -> dict[str, Any]:
        """A new session of this user: access_token, refresh_token and more."""
        return self.token(client, grant_type="password", username=username, password=password)

    def revoke(self, client: Mapping[str, str], access_token: str) -> None:
        """This access token is refused from now on (RFC 7009)."""
        form = {**client, "token": access_token, "token_type_hint": "access_token"}
        self._http.post(f"{self.issuer}/protocol/openid-connect/revoke", data=form).raise_for_status()

    def end_sessions(self, username: str) -> None:
        """All sessions of this user end, as with the button in the administration console."""
        (user,) = self._administer("GET", f"/users?username={username}&exact=true")
        self._administer("POST", f"/users/{user['id']}/logout")

    def rotate_secret(self, client_id: str) -> str:
        """A new secret for this client; the old one is refused from now on."""
        secret: str = self._administer("POST", f"/clients/{self._client(client_id)}/client-secret")["value"]
        return secret

    def close(self) -> None:
        self._http.close()

    def _client(self, client_id: str) -> str:
        (client,) = self._administer("GET", f"/clients?clientId={client_id}")
        found: str = client["id"]
        return found

    def _administer(self, method: str, path: str, **request: Any) -> Any:
        form = {"grant_type": "password", "client_id": "admin-cli", "username": ADMIN, "password": self._password}
        own = f"{self.url}/realms/master/protocol/openid-connect/token"
        bearer = {"authorization": f"Bearer {self._json('POST', own, data=form)['access_token']}"}
        return self._json(method, f"{self._admin_url}{path}", headers=bearer, **request)

    def _json(self, method: str, url: str, **request: Any) -> Any:
        answer = self._http.request(method, url, **request)
        answer.raise_for_status()
        return answer.json() if answer.content else None


@contextlib.contextmanager
def keycloak(folder: Path, realm: Mapping[str, Any]) -> Iterator[Keycloak]:
    """Keycloak on free ports of 127.0.0.1 with this realm imported, its data in memory; it logs to `folder`.

    Raises NotToBeHad if it cannot be run here, RuntimeError if it does not come up.
    """
    interpreter, home = java(), unpacked(folder)
    imported = home / "data" / "import"
    imported.mkdir(parents=True)
    (imported / "realm.json").write_text(json.dumps(realm))
    port, management_port = free_port(), free_port()
    password = secrets.token_urlsafe(16)
    log = folder / "keycloak.log"
    argv = ["bash", str(home / "bin" / "kc.sh"), "start-dev", "--import-realm", "--db=dev-mem", "--cache=local"]
    argv += ["--http-host=127.0.0.1", f"--http-port={port}"]
    argv += ["--health-enabled=true", f"--http-management-port={management_port}"]
    environ = {
        "PATH": os.environ.get("PATH", os.defpath),
        "JAVA": interpreter,
        "JAVA_OPTS_APPEND": FAST_START,
        "KC_BOOTSTRAP_ADMIN_USERNAME": ADMIN,
        "KC_BOOTSTRAP_ADMIN_PASSWORD": password,
    }
    with log.open("wb") as output:
        process = subprocess.Popen(
            argv, env=environ, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True
        )
    try:
        _wait(process, f"http://127.0.0.1:{management_port}/health/ready", log)
        with contextlib.closing(Keycloak(f"http://127.0.0.1:{port}", realm["realm"], password)) as running:
            yield running
    finally:
        # The script starts Java in its group.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _wait(process: "subprocess.Popen[bytes]", url: str, log: Path) -> None:
    until = time.monotonic() + UP_WITHIN_SECONDS
    with httpx2.Client(trust_env=False, timeout=5.0) as http:
        while True:
            with contextlib.suppress(httpx2.TransportError):
                if http.get(url).status_code == 200:
                    return
            if process.poll() is not None or time.monotonic() > until:
                raise RuntimeError(f"Keycloak does not come up:\n{log.read_text(errors='replace')[-4000:]}")
            time.sleep(POLL_SECONDS)
