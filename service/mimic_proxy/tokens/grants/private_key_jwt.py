"""GRANT=private_key_jwt: an assertion that Mimic signs with a key which never leaves it (RFC 7523).

ASSERTION_AS=client: it authenticates the client, for a grant of client credentials (2.2). ASSERTION_AS=grant: it is the
grant itself (2.1), as Google's service accounts have it.
"""

from mimic_proxy.settings.fields import SecretRef, Settings
from mimic_proxy.tokens.assertion import Assertion
from mimic_proxy.tokens.grants import request
from mimic_proxy.tokens.recipe import Grant

CLIENT_ASSERTION = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
JWT_BEARER = "urn:ietf:params:oauth:grant-type:jwt-bearer"


def grant(settings: Settings) -> Grant:
    """POST an assertion to TOKEN_URL. Raises ValueError without a TOKEN_URL."""
    fields: list[tuple[str, object]]
    if settings.assertion_as == "client":
        fields = [("grant_type", "client_credentials"), ("client_assertion_type", CLIENT_ASSERTION)]
        if settings.client_id is not None:
            fields.append(("client_id", settings.client_id))
        fields += request.asked_for(settings)
        place = request.whole(settings.token_secret_as or "client_assertion")
    else:
        fields = [("grant_type", JWT_BEARER), *request.asked_for(settings)]
        place = request.whole(settings.token_secret_as or "assertion")
    key = settings.private_key or SecretRef("PRIVATE_KEY")
    recipe = request.recipe(settings, fields, [(place, key)])
    assertion = Assertion(
        issuer=settings.client_id,
        audience=settings.assertion_audience or recipe.url,
        lifetime=settings.assertion_lifetime,
        algorithm=settings.assertion_algorithm,
        key_id=settings.private_key_id,
        claims=settings.assertion_claims,
    )
    return Grant("private_key_jwt", recipe, (key,), prepare=assertion.sign)
