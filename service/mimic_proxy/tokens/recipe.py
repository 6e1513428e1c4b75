"""How an access token is requested and found in the response, declared as data. Pure.

A grant is a recipe with the secrets that go into it. A grant without a recipe has no token service: the secret itself
is the token, or there is none.
"""

import base64
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal
from urllib.parse import quote_plus, urlencode, urlsplit

from mimic_proxy.pointer import Pointer, parse
from mimic_proxy.settings.fields import SecretRef
from mimic_proxy.settings.values import SECRET_PLACE, masked_url

Headers = tuple[tuple[str, str], ...]
Fields = tuple[tuple[str, object], ...]
Encoding = Literal["json", "form", "query"]
MEDIA_TYPES = {"json": "application/json", "form": "application/x-www-form-urlencoded"}
SHOWN = frozenset(
    {
        "assertion_type",
        "audience",
        "client_assertion_type",
        "client_id",
        "grant_type",
        "redirect_uri",
        "requested_token_type",
        "resource",
        "scope",
        "subject_token_type",
    }
)
"""Fields whose values are no secrets and may be shown."""
HIDDEN = "***"


@dataclass(frozen=True, slots=True)
class TokenRequest:
    """One request to the token service. `repr` shows no secret."""

    url: str = field(repr=False)
    method: str
    headers: Headers = field(repr=False)
    body: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class SecretPlace:
    """Where a secret goes: `body`, as the field `name`; `header`, as the header field `name`; `basic`, as the password
    of the user `name` (RFC 6749, 2.3.1). The value is `template` with `{secret}` in it."""

    where: Literal["body", "header", "basic"]
    name: str
    template: str = SECRET_PLACE


@dataclass(frozen=True, slots=True, kw_only=True)
class ResponsePointers:
    """Where a response holds what; the first pointer that finds a value counts.

    Without pointers the usual names beside the token are tried.
    """

    token: tuple[Pointer, ...] = (("data", "access_token"), ("access_token",))
    lifetime: tuple[Pointer, ...] = ()
    """Seconds from now."""
    expiry: tuple[Pointer, ...] = ()
    """A time."""
    error: tuple[Pointer, ...] = ()
    refresh: tuple[Pointer, ...] = ()
    """The next refresh token."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """The request for a token, and where the response holds it.

    fields: what is sent besides the secrets, in order, as `encoding` says; a name that begins with `/` is a JSON
    Pointer into a JSON body. places: one for each secret.
    """

    url: str
    method: str = "POST"
    encoding: Encoding = "json"
    fields: Fields = ()
    headers: Headers = ()
    places: tuple[SecretPlace, ...]
    pointers: ResponsePointers = ResponsePointers()

    @property
    def origin(self) -> str:
        """Scheme, host and port of the token service, for messages: never a user, path or query."""
        parts = urlsplit(self.url)
        return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"

    def request(self, *secrets: str) -> TokenRequest:
        """Returns the request with these secrets in their places.

        Raises ValueError for a secret that cannot stand there; it is not in the message.
        """
        headers = {"accept": "application/json", "accept-encoding": "identity"}
        fields = dict(self.fields)
        for place, secret in zip(self.places, secrets, strict=True):
            value = place.template.replace(SECRET_PLACE, secret)
            if place.where == "body":
                fields[place.name] = value
            elif place.where == "basic":
                headers["authorization"] = _basic(place.name, value)
            elif value.isascii() and value.isprintable():
                headers[place.name.lower()] = value
            else:
                raise ValueError("holds characters that a header field cannot hold")
        url, body = self.url, b""
        if self.encoding == "query" and fields:
            url += f"{'&' if '?' in url else '?'}{urlencode(_texts(fields))}"
        elif self.encoding != "query" and (fields or self.method != "GET"):
            headers["content-type"] = MEDIA_TYPES[self.encoding]
            body = (_nested(fields) if self.encoding == "json" else urlencode(_texts(fields))).encode("ascii")
        headers.update((name.lower(), value) for name, value in self.headers)
        return TokenRequest(url, self.method, tuple(headers.items()), body)

    def shown(self) -> str:
        """Describes the request without a secret."""
        fields = [(name, value if name in SHOWN else HIDDEN) for name, value in self.fields]
        fields += [(place.name, HIDDEN) for place in self.places if place.where == "body"]
        names = dict.fromkeys(place.name.lower() for place in self.places if place.where == "header")
        names.update(dict.fromkeys(name.lower() for name, _ in self.headers))
        user = next((place.name for place in self.places if place.where == "basic"), None)
        said = [f"{self.method} {masked_url(self.url)}"]
        if fields:
            said.append(f"{self.encoding} with " + ", ".join(f"{name}={value}" for name, value in dict(fields).items()))
        if user is not None:
            said.append(f"basic authentication of {user}")
        if names:
            said.append(f"header fields {', '.join(names)}")
        return "; ".join(said)


Prepare = Callable[[str, float], str]
"""Makes what is sent for a secret at a Unix time. Raises ValueError with what is wrong, without the secret itself."""


@dataclass(frozen=True, slots=True)
class Grant:
    """Where access tokens come from.

    recipe: None without a token service. secrets: one for each place of the recipe; empty when none is needed.
    prepare: makes what is sent for the first of them, None if it is sent as it is. single_use: the first secret buys
    one token only. refresh: the request that sends a refresh token as its first secret; None where none is used.
    store: the file that keeps refresh tokens.
    """

    name: str
    recipe: Recipe | None = None
    secrets: tuple[SecretRef, ...] = ()
    prepare: Prepare | None = None
    single_use: bool = False
    refresh: Recipe | None = None
    store: Path | None = None

    @property
    def starts_with_refresh_token(self) -> bool:
        """The first secret is itself a refresh token."""
        return self.refresh is not None and self.refresh is self.recipe

    @property
    def identity(self) -> tuple[object, ...]:
        """For whom and for what tokens are requested: equal for two grants whose tokens are the same."""
        recipe = self.recipe
        request = None if recipe is None else (recipe.url, recipe.fields, recipe.headers, recipe.places)
        return self.name, request, self.secrets, self.prepare


def _basic(user: str, password: str) -> str:
    pair = f"{quote_plus(user)}:{quote_plus(password)}".encode("ascii")
    return f"Basic {base64.b64encode(pair).decode('ascii')}"


def _texts(fields: dict[str, object]) -> Sequence[tuple[str, str]]:
    """Values as text; those that are no text in JSON."""
    return [(name, value if isinstance(value, str) else json.dumps(value)) for name, value in fields.items()]


def _nested(fields: dict[str, object]) -> str:
    document: dict[str, Any] = {}
    for name, value in fields.items():
        *parents, last = parse(name) if name.startswith("/") else (name,)
        where = document
        for parent in parents:
            inner = where.get(parent)
            where[parent] = where = dict(inner) if isinstance(inner, dict) else {}
        where[last] = value
    return json.dumps(document, separators=(",", ":"))
