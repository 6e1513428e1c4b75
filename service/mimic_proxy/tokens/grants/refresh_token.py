"""GRANT=refresh_token: a refresh token for an access token, and often for the next refresh token (RFC 6749, 6)."""

from collections.abc import Iterable

from mimic_proxy.settings.fields import SecretRef, Settings
from mimic_proxy.tokens.grants import request
from mimic_proxy.tokens.recipe import Encoding, Grant, Recipe


def grant(settings: Settings) -> Grant:
    """POST `grant_type=refresh_token` to TOKEN_URL. Raises ValueError without a TOKEN_URL."""
    fields, secrets = request.client(settings)
    recipe = turn_in(settings, [*fields, *request.asked_for(settings)], secrets, encoding="form")
    return Grant(
        "refresh_token",
        recipe,
        (settings.refresh_token or SecretRef("REFRESH_TOKEN"), *(secret for _, secret in secrets)),
        refresh=recipe,
        store=settings.token_store,
    )


def turn_in(
    settings: Settings,
    fields: Iterable[tuple[str, object]],
    secrets: Iterable[request.Placed],
    *,
    encoding: Encoding,
) -> Recipe:
    """The request whose first secret is a refresh token."""
    place = request.whole(settings.token_refresh_as)
    placed = [(place, SecretRef("REFRESH_TOKEN")), *secrets]
    return request.recipe(settings, [("grant_type", "refresh_token"), *fields], placed, encoding=encoding)
