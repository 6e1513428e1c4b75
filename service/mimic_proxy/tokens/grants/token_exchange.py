"""GRANT=token_exchange: a token of another issuer for one of this token service (RFC 8693).

With a projected service-account token as the subject there is no secret to be kept at all: the file is read again for
each refresh.
"""

from mimic_proxy.settings.fields import SecretRef, Settings
from mimic_proxy.tokens.grants import request
from mimic_proxy.tokens.recipe import Grant

TOKEN_EXCHANGE = "urn:ietf:params:oauth:grant-type:token-exchange"


def grant(settings: Settings) -> Grant:
    """POST the subject token to TOKEN_URL. Raises ValueError without a TOKEN_URL."""
    fields, secrets = request.client(settings)
    named = [
        ("grant_type", TOKEN_EXCHANGE),
        *fields,
        ("subject_token_type", settings.subject_token_type),
        ("requested_token_type", settings.requested_token_type),
        *request.asked_for(settings),
    ]
    subject = settings.subject_token or SecretRef("SUBJECT_TOKEN")
    placed = [(request.whole("subject_token"), subject), *secrets]
    return Grant("token_exchange", request.recipe(settings, named, placed), tuple(secret for _, secret in placed))
