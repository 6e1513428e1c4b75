"""GRANT=none: the backend wants no credential."""

from mimic_proxy.settings.fields import Settings
from mimic_proxy.tokens.recipe import Grant


def grant(settings: Settings) -> Grant:
    """No token, no secret and no token service."""
    return Grant("none")
