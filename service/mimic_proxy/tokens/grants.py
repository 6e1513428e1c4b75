"""The grants that GRANT names: each is a function that makes a recipe and its secrets from the settings. Pure."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace

from mimic_proxy.pointer import parse
from mimic_proxy.settings.fields import SecretRef, Settings
from mimic_proxy.settings.values import SECRET_PLACE
from mimic_proxy.tokens.assertion import Assertion
from mimic_proxy.tokens.recipe import Encoding, Fields, Grant, Recipe, ResponsePointers, SecretPlace

CLIENT_ASSERTION = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
JWT_BEARER = "urn:ietf:params:oauth:grant-type:jwt-bearer"
TOKEN_EXCHANGE = "urn:ietf:params:oauth:grant-type:token-exchange"
Placed = tuple[SecretPlace, SecretRef]
"""A secret and its place in the request."""


def choose(settings: Settings) -> Grant:
    """Returns the grant that GRANT names. Raises ValueError for a grant that needs a TOKEN_URL and has none."""
    return GRANTS[settings.grant](settings)


def auth_code(settings: Settings) -> Grant:
    """An authorization code, posted as JSON `{"code": AUTH_CODE}`, that can be used again and again.

    A refresh token in the response is used from then on, in the same encoding. With TOKEN_ENCODING=form, TOKEN_FIELDS
    and AUTH_CODE_SINGLE_USE it is the authorization code of RFC 6749, 4.1.3.
    """
    # Here TOKEN_SECRET_* describe the code; the client's own secret stands beside it in the body.
    fields, secrets = _client(
        replace(settings, token_secret_in="body", token_secret_as=None, token_secret_format="{secret}")
    )
    where = settings.token_secret_in or "body"
    user = settings.client_id if where == "basic" else None
    place = SecretPlace(where, settings.token_secret_as or user or "code", settings.token_secret_format)
    code = settings.auth_code or SecretRef("AUTH_CODE")
    fields = [*fields, *_requested(settings)]
    plain = replace(settings, token_fields=tuple(item for item in settings.token_fields if item[0] != "grant_type"))
    return Grant(
        "auth_code",
        _recipe(settings, fields, [(place, code), *secrets], encoding="json"),
        (code, *(secret for _, secret in secrets)),
        single_use=settings.auth_code_single_use,
        refresh=_refresh_recipe(plain, fields, secrets, encoding="json"),
        store=settings.token_store,
    )


def client_credentials(settings: Settings) -> Grant:
    """The client's own name and secret (RFC 6749, 4.4), the secret as TOKEN_SECRET_IN says."""
    fields, secrets = _client(settings)
    named = [("grant_type", "client_credentials"), *fields, *_requested(settings)]
    refs = tuple(secret for _, secret in secrets) or (SecretRef("CLIENT_SECRET"),)
    return Grant("client_credentials", _recipe(settings, named, secrets), refs)


def private_key_jwt(settings: Settings) -> Grant:
    """An assertion that Mimic signs with a key which never leaves it (RFC 7523).

    ASSERTION_AS=client: it authenticates the client, for a grant of client credentials (2.2). ASSERTION_AS=grant: it
    is the grant itself (2.1), as for Google's service accounts.
    """
    fields: list[tuple[str, object]]
    if settings.assertion_as == "client":
        fields = [("grant_type", "client_credentials"), ("client_assertion_type", CLIENT_ASSERTION)]
        if settings.client_id is not None:
            fields.append(("client_id", settings.client_id))
        place = _whole(settings.token_secret_as or "client_assertion")
    else:
        fields = [("grant_type", JWT_BEARER)]
        place = _whole(settings.token_secret_as or "assertion")
    key = settings.private_key or SecretRef("PRIVATE_KEY")
    recipe = _recipe(settings, [*fields, *_requested(settings)], [(place, key)])
    assertion = Assertion(
        issuer=settings.client_id,
        audience=settings.assertion_audience or recipe.url,
        lifetime=settings.assertion_lifetime,
        algorithm=settings.assertion_algorithm,
        key_id=settings.private_key_id,
        claims=settings.assertion_claims,
    )
    return Grant("private_key_jwt", recipe, (key,), prepare=assertion)


def token_exchange(settings: Settings) -> Grant:
    """A token of another issuer for one of this token service (RFC 8693).

    With a projected service-account token as the subject there is no secret at all: the file is read again for each
    refresh.
    """
    fields, secrets = _client(settings)
    named = [
        ("grant_type", TOKEN_EXCHANGE),
        *fields,
        ("subject_token_type", settings.subject_token_type),
        ("requested_token_type", settings.requested_token_type),
        *_requested(settings),
    ]
    subject = settings.subject_token or SecretRef("SUBJECT_TOKEN")
    placed = [(_whole("subject_token"), subject), *secrets]
    return Grant("token_exchange", _recipe(settings, named, placed), tuple(secret for _, secret in placed))


def refresh_token(settings: Settings) -> Grant:
    """A refresh token for an access token, and often for the next refresh token (RFC 6749, 6)."""
    fields, secrets = _client(settings)
    recipe = _refresh_recipe(settings, [*fields, *_requested(settings)], secrets, encoding="form")
    return Grant(
        "refresh_token",
        recipe,
        (settings.refresh_token or SecretRef("REFRESH_TOKEN"), *(secret for _, secret in secrets)),
        refresh=recipe,
        store=settings.token_store,
    )


def static(settings: Settings) -> Grant:
    """ACCESS_TOKEN itself, without a token service; its file is read again when it changes."""
    return Grant("static", secrets=(settings.access_token or SecretRef("ACCESS_TOKEN"),))


def none(settings: Settings) -> Grant:
    """No token, no secret and no token service: the backend wants no credential."""
    return Grant("none")


GRANTS: Mapping[str, Callable[[Settings], Grant]] = {
    grant.__name__: grant
    for grant in (auth_code, client_credentials, private_key_jwt, token_exchange, refresh_token, static, none)
}


def _refresh_recipe(
    settings: Settings, fields: Iterable[tuple[str, object]], secrets: Iterable[Placed], *, encoding: Encoding
) -> Recipe:
    """The request whose first secret is a refresh token."""
    placed = [(_whole(settings.token_refresh_as), SecretRef("REFRESH_TOKEN")), *secrets]
    return _recipe(settings, [("grant_type", "refresh_token"), *fields], placed, encoding=encoding)


def _recipe(
    settings: Settings, fields: Iterable[tuple[str, object]], placed: Iterable[Placed], *, encoding: Encoding = "form"
) -> Recipe:
    """The request that carries `fields` and the secrets, unless settings replace them.

    encoding: the one that holds without TOKEN_ENCODING. Raises ValueError without a TOKEN_URL.
    """
    if settings.token_url is None:
        raise ValueError(f"TOKEN_URL is missing: GRANT={settings.grant} fetches access tokens there")
    default: Encoding = "query" if settings.token_method == "GET" else encoding
    pointers = ResponsePointers(
        lifetime=tuple(map(parse, settings.token_lifetime_pointer)),
        expiry=tuple(map(parse, settings.token_expiry_pointer)),
        error=tuple(map(parse, settings.token_error_pointer)),
        refresh=tuple(map(parse, settings.token_refresh_pointer)),
    )
    if settings.token_pointer:
        pointers = replace(pointers, token=tuple(map(parse, settings.token_pointer)))
    return Recipe(
        url=settings.token_url,
        method=settings.token_method,
        encoding=settings.token_encoding or default,
        fields=_replaced(fields, settings.token_fields),
        headers=tuple((name, str(value)) for name, value in settings.token_request_headers),
        places=tuple(place for place, _ in placed),
        pointers=pointers,
    )


def _replaced(fields: Iterable[tuple[str, object]], changes: Fields) -> Fields:
    """`fields` with those of `changes` added, replaced, or removed where null."""
    merged = {**dict(fields), **dict(changes)}
    return tuple((name, value) for name, value in merged.items() if value is not None)


def _requested(settings: Settings) -> list[tuple[str, object]]:
    """The fields that say what the token is for."""
    named = (("scope", settings.scope), ("audience", settings.audience), ("resource", settings.resource))
    return [(name, value) for name, value in named if value is not None]


def _client(settings: Settings) -> tuple[list[tuple[str, object]], list[Placed]]:
    """How the client identifies itself: fields, and its secret if it has one (RFC 6749, 2.3.1)."""
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


def _whole(name: str) -> SecretPlace:
    """A field of the body that holds the secret and nothing else."""
    return SecretPlace("body", name, SECRET_PLACE)
