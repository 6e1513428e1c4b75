"""Sends one HTTP request to the token service; exceptions of libraries end here.

Each request has a client and a connection of its own. Refreshes are minutes apart, so nothing is worth keeping: a kept
connection would die while idle, an address move in DNS, and a certificate store become older than the request.
"""

import asyncio
import re
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib.parse import urljoin, urlsplit

from mimic_proxy.errors import innermost_reason
from mimic_proxy.http.coding import decoded
from mimic_proxy.tokens.recipe import TokenRequest
from mimic_proxy.tokens.response import Failure, TokenResponse

if TYPE_CHECKING:
    import httpx2

Post = Callable[[TokenRequest], Awaitable[TokenResponse | Failure]]

MAX_ANSWER_BYTES = 1024 * 1024
MEDIA_TYPE = re.compile(r"[a-z0-9.+-]{1,40}/[a-z0-9.+-]{1,60}")


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenService:
    """Sends a token request. No redirect is followed, and no proxy or password is taken from the environment.

    timeout: seconds for the whole call; 0 is no limit. verify: makes the TLS context of an https call. proxy: the
    proxy's URL, credentials included, or None.
    """

    timeout: float
    verify: Callable[[], ssl.SSLContext]
    proxy: str | None = field(default=None, repr=False)

    async def __call__(self, request: TokenRequest) -> TokenResponse | Failure:
        """Returns the whole response, or why there is none."""
        # Imported at the first call: it takes longer and holds more memory than the rest of the start.
        import httpx2

        try:
            async with asyncio.timeout(self.timeout or None), self._client(request) as client:
                return await _exchange(client, request)
        except TimeoutError:
            return Failure("timeout", f"did not answer within {self.timeout:g} s", unknown=True)
        except httpx2.RemoteProtocolError:
            detail = "closed the connection without an answer, or did not speak HTTP/1.1"
            return Failure("bad_response", detail, unknown=True)
        except (httpx2.ConnectError, httpx2.ProxyError) as error:
            return _unreached(error)
        except (httpx2.ReadError, httpx2.WriteError) as error:
            return Failure("unreachable", f"broke the connection off: {innermost_reason(error)}", unknown=True)
        except (httpx2.TransportError, httpx2.InvalidURL, OSError, ValueError) as error:
            # Their messages may quote a header field: the name of the class has to do.
            return Failure("unreachable", f"could not be called ({type(error).__name__})")

    def _client(self, request: TokenRequest) -> "httpx2.AsyncClient":
        import httpx2

        # A bare context costs nothing; the system's store takes time and memory that a plain http URL never needs.
        https = request.url.lower().startswith("https:")
        context = self.verify() if https else ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        return httpx2.AsyncClient(
            verify=context, proxy=self.proxy, trust_env=False, follow_redirects=False, timeout=None
        )


async def _exchange(client: "httpx2.AsyncClient", request: TokenRequest) -> TokenResponse | Failure:
    headers = {"user-agent": "mimic-proxy", **dict(request.headers)}
    async with client.stream(request.method, request.url, headers=headers, content=request.body) as response:
        body = await _limited(response.aiter_raw())
        if body is None:
            return Failure("bad_response", f"answered {response.status_code} with over 1 MiB", response.status_code)
        coding = response.headers.get("content-encoding", "").strip().lower().encode()
        try:
            body = decoded(body, coding, MAX_ANSWER_BYTES) if coding else body
        except ValueError as wrong:
            return Failure("bad_response", f"answered {response.status_code} {wrong}", response.status_code)
        return TokenResponse(
            response.status_code,
            body,
            retry_after=response.headers.get("retry-after"),
            content_type=_media_type(response.headers.get("content-type")),
            location_host=_host(request.url, response.headers.get("location")),
            date=response.headers.get("date"),
        )


def _unreached(error: Exception) -> Failure:
    """Nothing was sent: there was no connection, or TLS did not come about."""
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, ssl.SSLError):
        cause = cause.__cause__ or cause.__context__
    if cause is None:
        return Failure("unreachable", f"could not be reached: {innermost_reason(error)}")
    return Failure("tls", f"could not be reached over TLS: {innermost_reason(error)}")


def _media_type(field: str | None) -> str | None:
    """The type without its parameters; None for what looks like none."""
    kind = (field or "").partition(";")[0].strip().lower()
    return kind if MEDIA_TYPE.fullmatch(kind) else None


def _host(url: str, location: str | None) -> str | None:
    """Where a redirect points: the host alone, since a path or query may hold what was sent."""
    if location is None:
        return None
    try:
        return urlsplit(urljoin(url, location)).hostname
    except ValueError:
        return None


async def _limited(chunks: AsyncIterator[bytes]) -> bytes | None:
    body = bytearray()
    async for chunk in chunks:
        body += chunk
        if len(body) > MAX_ANSWER_BYTES:
            return None
    return bytes(body)
