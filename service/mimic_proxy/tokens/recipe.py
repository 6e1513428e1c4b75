"""How an access token is asked for, declared as data. Pure.

A grant is a recipe with the secret that goes into it. A grant without a recipe asks nobody: the secret itself is the
token, or there is none.
"""

import base64
import json
from dataclasses import dataclass, field
from typing import Literal
from urllib.parse import quote_plus, urlencode, urlsplit

from mimic_proxy.settings import SecretRef

Fields = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class TokenRequest:
    """One call to the token service. `repr` shows no secret."""

    url: str
    method: str
    headers: Fields = field(repr=False)
    body: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class TokenAt:
    """Where an answer holds token and lifetime in seconds: keys of nested JSON objects, joined by dots."""

    token: str
    lifetime: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """The request for a token, and where the answer holds it.

    fields: what the body holds besides the secret, in order. secret_in: `body`, as the field `secret_as`; `header`, as
    the header field `secret_as`; `basic`, as the password of the user `secret_as` (RFC 6749, 2.3.1).
    answers: the first place that holds a token counts.
    """

    url: str
    method: str = "POST"
    encoding: Literal["json", "form"] = "json"
    fields: Fields = ()
    secret_in: Literal["body", "header", "basic"] = "body"
    secret_as: str
    answers: tuple[TokenAt, ...] = (TokenAt("access_token", "expires_in"),)

    @property
    def origin(self) -> str:
        """Scheme, host and port of the token service, for messages: never a user, path or query."""
        parts = urlsplit(self.url)
        return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"

    def request(self, secret: str) -> TokenRequest:
        """The call with this secret in its place.

        Raises ValueError for a secret that cannot stand there; it is not in the message.
        """
        fields, headers = self.fields, [("accept", "application/json"), ("accept-encoding", "identity")]
        if self.secret_in == "body":
            fields = (*fields, (self.secret_as, secret))
        elif self.secret_in == "basic":
            pair = f"{quote_plus(self.secret_as)}:{quote_plus(secret)}".encode("ascii")
            headers.append(("authorization", f"Basic {base64.b64encode(pair).decode('ascii')}"))
        elif secret.isascii() and secret.isprintable():
            headers.append((self.secret_as.lower(), secret))
        else:
            raise ValueError("holds characters that cannot stand in a header field")
        if not fields:
            return TokenRequest(self.url, self.method, tuple(headers), b"")
        if self.encoding == "json":
            headers.append(("content-type", "application/json"))
            body = json.dumps(dict(fields), separators=(",", ":"))
        else:
            headers.append(("content-type", "application/x-www-form-urlencoded"))
            body = urlencode(fields)
        return TokenRequest(self.url, self.method, tuple(headers), body.encode("ascii"))


@dataclass(frozen=True, slots=True)
class Grant:
    """Where access tokens come from.

    recipe: None when no token service is asked. secret: None when none is needed. single_use: the secret buys one
    token and no other.
    """

    name: str
    recipe: Recipe | None = None
    secret: SecretRef | None = None
    single_use: bool = False
