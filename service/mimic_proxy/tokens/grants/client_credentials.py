"""GRANT=client_credentials: the client's own name and secret (RFC 6749, 4.4)."""

from mimic_proxy.settings.fields import SecretRef, Settings
from mimic_proxy.tokens.grants import request
from mimic_proxy.tokens.recipe import Grant


def grant(settings: Settings) -> Grant:
    """POST `grant_type=client_credentials` to TOKEN_URL, the secret as TOKEN_SECRET_IN says.

    Raises ValueError without a TOKEN_URL.
    """
    fields, secrets = request.client(settings)
    named = [("grant_type", "client_credentials"), *fields, *request.asked_for(settings)]
    refs = tuple(secret for _, secret in secrets) or (SecretRef("CLIENT_SECRET"),)
    return Grant("client_credentials", request.recipe(settings, named, secrets), refs)
