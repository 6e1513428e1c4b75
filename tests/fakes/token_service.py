"""A token service whose answers are scripted and whose calls are counted."""

import itertools
import json
import ssl
import uuid
from types import TracebackType
from typing import Self

from fakes.backend import Backend, Request, Script
from fakes.replies import answer

AUTH_CODE = "fake-auth-code-5d1f0a"
REFUSAL = (
    b'{"error":{"message":"Incorrect API key provided","type":"invalid_request_error",'
    b'"param":null,"code":"invalid_api_key"}}'
)


class TokenService:
    """Issues a new token for each call with the right code, and knows which are still valid.

    `script` may be replaced to answer otherwise; `issue` stays usable from within it.
    """

    def __init__(self, tls: ssl.SSLContext | None = None, port: int = 0) -> None:
        """port: where it listens; 0 takes a free one."""
        self._tls = tls
        self._port = port
        self.server = Backend(self.issue)
        self.auth_code = AUTH_CODE
        self.lifetime: float | None = 3600
        """`expires_in` of the tokens issued from now on, in seconds; None leaves it out."""
        self.issued: list[str] = []
        self.valid: set[str] = set()
        self._numbers = itertools.count(1)

    @property
    def url(self) -> str:
        return f"{self.server.url if self._tls is None else f'https://localhost:{self.server.port}'}/token"

    @property
    def calls(self) -> int:
        return len(self.server.requests)

    @property
    def script(self) -> Script:
        return self.server.script

    @script.setter
    def script(self, script: Script) -> None:
        self.server.script = script

    async def issue(self, request: Request) -> None:
        """Answer as the default recipe expects it; 401 for a wrong code."""
        await request.whole.wait()
        assert (request.method, request.target) == (b"POST", b"/token")
        if json.loads(request.body) != {"code": self.auth_code}:
            await request.send(answer(401, b'{"error":"invalid code"}'))
            return
        await request.send(answer(200, json.dumps({"data": self.new_token()}).encode()))

    def new_token(self) -> dict[str, object]:
        """Issue the next token; the object that stands at `data` of the answer."""
        token = f"fake-access-token-{next(self._numbers)}-{uuid.uuid4().hex}"
        self.issued.append(token)
        self.valid.add(token)
        lifetime = {} if self.lifetime is None else {"expires_in": self.lifetime}
        return {"access_token": token, **lifetime}

    def revoke(self) -> None:
        """From now on no token issued so far is valid."""
        self.valid.clear()

    def accepts(self, request: Request) -> bool:
        """The request carries a valid token as bearer."""
        carried = request.value(b"authorization") or b""
        return carried.removeprefix(b"Bearer ").decode("ascii", "replace") in self.valid

    def guard(self, script: Script) -> Script:
        """A backend's script that refuses tokens which are not valid, as OpenAI does."""

        async def play(request: Request) -> None:
            if self.accepts(request):
                await script(request)
            else:
                await request.whole.wait()
                await request.send(answer(401, REFUSAL))

        return play

    async def __aenter__(self) -> Self:
        await self.server.start(self._tls, port=self._port)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        await self.server.stop()
