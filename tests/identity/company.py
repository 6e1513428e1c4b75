"""What a test has: Keycloak, the gateway that trusts it, and a Mimic between an application and that gateway."""

import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2
from openai import AsyncOpenAI

from fakes.free_ports import free_port
from fakes.mimic import Mimic, running
from identity.keycloak import Keycloak
from identity.realm import GATEWAY, Keys

UP_WITHIN_SECONDS = 30.0
POLL_SECONDS = 0.05


@dataclass(frozen=True, slots=True)
class Company:
    """An identity provider and a gateway; `gateway` is the base URL of its API. `figures` is printed at the end."""

    provider: Keycloak
    gateway: str
    keys: Keys = field(repr=False)
    figures: list[str] = field(repr=False)

    def settings(self, **more: str) -> dict[str, str]:
        """The environment of a Mimic in front of the gateway; a preset makes TOKEN_URL by itself."""
        tokens = {} if "PRESET" in more else {"TOKEN_URL": self.provider.token_url}
        return {"CHAT_API_URL": self.gateway, "EMBEDDING_API_URL": self.gateway, **tokens, **more}

    def mimic(
        self, folder: Path, secrets: Iterable[str], *, ready: bool = True, **more: str
    ) -> AbstractAsyncContextManager[Mimic]:
        """A running Mimic whose log tells neither `secrets` nor the access token that the gateway saw last."""
        told = [secret for secret in secrets if secret]
        return running(self.settings(**more), folder, lambda: [*told, *self._last_token()], ready=ready)

    def seen(self) -> dict[str, int]:
        """What the gateway counted: calls `let in`, and those it refused by the reason."""
        counts: dict[str, int] = self._report()["counts"]
        return counts

    def access_token(self) -> str:
        """The access token that the gateway saw last."""
        (token,) = self._last_token()
        return token

    def tell(self, figure: str) -> None:
        """Have this measured figure printed at the end of the run."""
        self.figures.append(figure)

    def _last_token(self) -> list[str]:
        token = self._report().get("token")
        return [token] if token else []

    def _report(self) -> dict[str, Any]:
        report: dict[str, Any] = httpx2.get(f"{self.gateway.removesuffix('/v1')}/seen", trust_env=False).json()
        return report


def application(mimic: Mimic) -> AsyncOpenAI:
    """The SDK as an application has it; without retries, so that nothing is hidden."""
    return AsyncOpenAI(base_url=f"http://127.0.0.1:{mimic.port}/v1", api_key="any", max_retries=0)


async def whoami(sdk: AsyncOpenAI) -> dict[str, Any]:
    """The claims of the token with which the gateway saw this call."""
    answer = await sdk.chat.completions.create(model="whoami", messages=[{"role": "user", "content": "Who am I?"}])
    content = answer.choices[0].message.content
    assert content is not None
    claims: dict[str, Any] = json.loads(content)
    return claims


@contextlib.contextmanager
def gateway(folder: Path, issuer: str) -> Iterator[str]:
    """The gateway as a process of its own that trusts `issuer`; the base URL of its API. It logs to `folder`."""
    port, log = free_port(), folder / "gateway.log"
    environ = {
        "PATH": os.environ.get("PATH", os.defpath),
        "PORT": str(port),
        "ISSUER": issuer,
        **{name.upper(): value for name, value in GATEWAY.items()},
    }
    argv = [sys.executable, str(Path(__file__).with_name("gateway.py"))]
    with log.open("wb") as output:
        process = subprocess.Popen(argv, env=environ, stdin=subprocess.DEVNULL, stdout=output, stderr=output)
    url = f"http://127.0.0.1:{port}/v1"
    try:
        until = time.monotonic() + UP_WITHIN_SECONDS
        while not _answers(f"{url}/models"):
            if process.poll() is not None or time.monotonic() > until:
                raise RuntimeError(f"the gateway does not come up:\n{log.read_text(errors='replace')}")
            time.sleep(POLL_SECONDS)
        yield url
    finally:
        process.terminate()
        process.wait(10)


def _answers(url: str) -> bool:
    try:
        return httpx2.get(url, trust_env=False).status_code == 200
    except httpx2.TransportError:
        return False
