"""What the settings say of token requests, whatever the grant."""

from collections.abc import Iterable
from dataclasses import replace

from mimic_proxy.pointer import parse
from mimic_proxy.settings.fields import SecretRef, Settings
from mimic_proxy.settings.values import SECRET_PLACE
from mimic_proxy.tokens.recipe import Answers, Encoding, Fields, Recipe, SecretPlace

Placed = tuple[SecretPlace, SecretRef]
"""A secret and where it goes."""


def recipe(
    settings: Settings, fields: Iterable[tuple[str, object]], placed: Iterable[Placed], *, encoding: Encoding = "form"
) -> Recipe:
    """The request that carries `fields` and the secrets, as far as no setting replaces them.

    encoding: where TOKEN_ENCODING says nothing. Raises ValueError without a TOKEN_URL.
    """
    if settings.token_url is None:
        raise ValueError(f"TOKEN_URL is missing: GRANT={settings.grant} fetches access tokens there")
    usual: Encoding = "query" if settings.token_method == "GET" else encoding
    return Recipe(
        url=settings.token_url,
        method=settings.token_method,
        encoding=settings.token_encoding or usual,
        fields=replaced(fields, settings.token_fields),
        headers=tuple((name, str(value)) for name, value in settings.token_request_headers),
        places=tuple(place for place, _ in placed),
        answers=answers(settings),
    )


def answers(settings: Settings) -> Answers:
    """Where answers hold what."""
    found = Answers(
        lifetime=tuple(map(parse, settings.token_lifetime_pointer)),
        expiry=tuple(map(parse, settings.token_expiry_pointer)),
        error=tuple(map(parse, settings.token_error_pointer)),
        refresh=tuple(map(parse, settings.token_refresh_pointer)),
    )
    return replace(found, token=tuple(map(parse, settings.token_pointer))) if settings.token_pointer else found


def replaced(fields: Iterable[tuple[str, object]], changes: Fields) -> Fields:
    """`fields` with those of `changes` added, replaced, or taken away where null."""
    merged = {**dict(fields), **dict(changes)}
    return tuple((name, value) for name, value in merged.items() if value is not None)


def asked_for(settings: Settings) -> list[tuple[str, object]]:
    """The fields that say what a token is to be good for."""
    named = (("scope", settings.scope), ("audience", settings.audience), ("resource", settings.resource))
    return [(name, value) for name, value in named if value is not None]


def client(settings: Settings) -> tuple[list[tuple[str, object]], list[Placed]]:
    """How the client says who it is: fields, and its secret if it has one (RFC 6749, 2.3.1)."""
    name, secret = settings.client_id, settings.client_secret
    where = settings.token_secret_in or "basic"
    if name is None:
        return [], []
    if secret is None:
        return [("client_id", name)], []
    if where == "basic":
        place = SecretPlace("basic", settings.token_secret_as or name, settings.token_secret_format)
        return [], [(place, secret)]
    place = SecretPlace(where, settings.token_secret_as or "client_secret", settings.token_secret_format)
    return [("client_id", name)], [(place, secret)]


def whole(name: str) -> SecretPlace:
    """A field of the body with nothing but the secret."""
    return SecretPlace("body", name, SECRET_PLACE)
