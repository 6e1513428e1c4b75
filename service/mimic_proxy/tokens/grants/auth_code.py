"""GRANT=auth_code: an authorization code, posted as JSON, that can be used again and again."""

from mimic_proxy.settings import SecretRef, Settings
from mimic_proxy.tokens.recipe import Grant, Recipe, TokenAt

ANSWERS = (TokenAt("data.access_token", "data.expires_in"), TokenAt("access_token", "expires_in"))


def grant(settings: Settings) -> Grant:
    """POST `{"code": AUTH_CODE}` to TOKEN_URL. Raises ValueError without a TOKEN_URL."""
    if settings.token_url is None:
        raise ValueError("TOKEN_URL is missing: GRANT=auth_code fetches access tokens there")
    return Grant(
        "auth_code",
        Recipe(url=settings.token_url, secret_as="code", answers=ANSWERS),
        settings.auth_code or SecretRef("AUTH_CODE"),
        single_use=settings.auth_code_single_use,
    )
