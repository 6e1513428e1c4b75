"""GRANT=auth_code: an authorization code, posted as JSON, that can be used again and again.

A refresh token in the answer is turned in from then on, in the same encoding. With TOKEN_ENCODING=form, TOKEN_FIELDS
and AUTH_CODE_SINGLE_USE it is the authorization code of RFC 6749, 4.1.3.
"""

from dataclasses import replace

from mimic_proxy.settings.fields import SecretRef, Settings
from mimic_proxy.tokens.grants import request
from mimic_proxy.tokens.grants.refresh_token import turn_in
from mimic_proxy.tokens.recipe import Grant, SecretPlace


def grant(settings: Settings) -> Grant:
    """POST `{"code": AUTH_CODE}` to TOKEN_URL. Raises ValueError without a TOKEN_URL."""
    # Here TOKEN_SECRET_* are about the code; the client's own secret stands beside it in the body.
    client = replace(settings, token_secret_in="body", token_secret_as=None, token_secret_format="{secret}")
    fields, secrets = request.client(client)
    where = settings.token_secret_in or "body"
    user = settings.client_id if where == "basic" else None
    place = SecretPlace(where, settings.token_secret_as or user or "code", settings.token_secret_format)
    code = settings.auth_code or SecretRef("AUTH_CODE")
    fields = [*fields, *request.asked_for(settings)]
    plain = replace(settings, token_fields=tuple(item for item in settings.token_fields if item[0] != "grant_type"))
    return Grant(
        "auth_code",
        request.recipe(settings, fields, [(place, code), *secrets], encoding="json"),
        (code, *(secret for _, secret in secrets)),
        single_use=settings.auth_code_single_use,
        refresh=turn_in(plain, fields, secrets, encoding="json"),
        store=settings.token_store,
    )
