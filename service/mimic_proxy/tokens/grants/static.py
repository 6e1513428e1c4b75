"""GRANT=static: the access token is a setting; its file is read again when it changes."""

from mimic_proxy.settings.fields import SecretRef, Settings
from mimic_proxy.tokens.recipe import Grant


def grant(settings: Settings) -> Grant:
    """ACCESS_TOKEN as it is; no token service."""
    return Grant("static", secrets=(settings.access_token or SecretRef("ACCESS_TOKEN"),))
