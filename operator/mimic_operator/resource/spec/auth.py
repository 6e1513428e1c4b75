"""`spec.auth`: how an access token is obtained and sent; what each grant requires, and what it cannot use."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Literal, get_args

from mimic_operator.resource.fields import (
    Duration,
    Flag,
    Items,
    Kind,
    OneOf,
    Rule,
    Section,
    Table,
    Text,
    Whole,
    key_of,
    words,
)
from mimic_operator.resource.spec.common import (
    AUDIENCE,
    DATA_KEY,
    HEADER,
    PLACES,
    PLAIN,
    SECRET_FORMAT,
    TOKEN_FORMAT,
    TOKEN_TYPE,
    object_name,
    web_address,
)

Grant = Literal["AuthCode", "ClientCredentials", "PrivateKeyJwt", "TokenExchange", "RefreshToken", "Static", "None"]
Algorithm = Literal["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"]
PLACE: Kind = Text("Keys joined by dots, or a JSON Pointer (RFC 6901).", most=256, matches=PLACES)
VALUE: Kind = Text("Value of the entry.", most=2048, least=0, matches=(PLAIN,))


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceAccountToken:
    audience: Annotated[
        str,
        Text(
            "Audience of the token, as the token service requires it. It is never the API server.",
            most=512,
            matches=AUDIENCE,
        ),
    ]
    expiration_seconds: Annotated[
        int, Whole("Lifetime of the token. The kubelet renews it at 80 % of it.", 600, 86_400)
    ] = 3600


@dataclass(frozen=True, slots=True, kw_only=True)
class VolumeClaim:
    claim_name: Annotated[str, object_name("Name of a PersistentVolumeClaim in the same namespace.")]


def _key(name: str, about: str) -> Text:
    return Text(f"Key of {about}. The default is {name}.", matches=DATA_KEY)


@dataclass(frozen=True, slots=True, kw_only=True)
class SecretKeys:
    """The keys of a Secret that was made by another tool, such as external-secrets or Vault."""

    auth_code: Annotated[str | None, _key("AUTH_CODE", "the authorization code")] = None
    client_id: Annotated[str | None, _key("CLIENT_ID", "the client's id")] = None
    client_secret: Annotated[str | None, _key("CLIENT_SECRET", "the client's secret")] = None
    private_key: Annotated[str | None, _key("PRIVATE_KEY", "the key that signs assertions")] = None
    subject_token: Annotated[str | None, _key("SUBJECT_TOKEN", "the token to exchange")] = None
    refresh_token: Annotated[str | None, _key("REFRESH_TOKEN", "the first refresh token")] = None
    access_token: Annotated[str | None, _key("ACCESS_TOKEN", "the access token")] = None

    def key_of(self, name: str) -> str:
        """The key that holds AUTH_CODE, CLIENT_ID and so on."""
        return getattr(self, name.lower()) or name


@dataclass(frozen=True, slots=True, kw_only=True)
class CredentialSecret:
    name: Annotated[str, object_name("Name of a Secret in the same namespace.")]
    keys: Annotated[SecretKeys, Section("The keys of the Secret, where they have other names.", SecretKeys)] = field(
        default_factory=SecretKeys
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Pointers:
    """Where the response of the token service holds each value; the first pointer that finds one counts."""

    token: Annotated[
        tuple[str, ...],
        Items("The token. The default is `data.access_token`, then `access_token`.", PLACE, most=8),
    ] = ()
    lifetime: Annotated[
        tuple[str, ...],
        Items("The lifetime in seconds. The default is `expires_in` beside the token.", PLACE, most=8),
    ] = ()
    expiry: Annotated[
        tuple[str, ...], Items("The time of expiry. The default is `expires_at` beside the token.", PLACE, most=8)
    ] = ()
    error: Annotated[
        tuple[str, ...],
        Items("The code of an error. The default is `error`, `errorCode` and similar names.", PLACE, most=8),
    ] = ()
    refresh_token: Annotated[
        tuple[str, ...],
        Items("The next refresh token. The default is `refresh_token` beside the token.", PLACE, most=8),
    ] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Assertion:
    """The assertion that PrivateKeyJwt signs (RFC 7523)."""

    as_: Annotated[
        Literal["Client", "Grant"] | None,
        OneOf(
            "Client: it authenticates the client (RFC 7523, 2.2), which is the default. Grant: it is the grant (2.1).",
            ("Client", "Grant"),
        ),
    ] = None
    algorithm: Annotated[
        Algorithm | None,
        OneOf(
            "Algorithm of the signature. The default is RS256, ES256 or EdDSA, by the type of the key.",
            get_args(Algorithm),
        ),
    ] = None
    key_id: Annotated[str | None, Text("Id of the key (`kid`).", most=256, matches=(PLAIN,))] = None
    audience: Annotated[
        str | None, Text("Audience of the assertion. The default is the token URL.", most=2048, matches=(PLAIN,))
    ] = None
    lifetime: Annotated[float | None, Duration("Lifetime of the assertion. The default is 1m.", least=1, most=3600)] = (
        None
    )
    claims: Annotated[Mapping[str, str], Table("Claims to add or to replace.", VALUE, most=32, keys=(PLAIN,))] = field(
        default_factory=dict
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """Where the token service and the backend differ from what the grant prescribes."""

    method: Annotated[
        Literal["POST", "GET", "PUT"] | None,
        OneOf("Method of the token request. The default is POST.", ("POST", "GET", "PUT")),
    ] = None
    encoding: Annotated[
        Literal["JSON", "Form", "Query"] | None,
        OneOf(
            "Encoding of the token request. The default is JSON for AuthCode and Form for all other grants.",
            ("JSON", "Form", "Query"),
        ),
    ] = None
    secret_in: Annotated[
        Literal["Body", "Header", "Basic"] | None,
        OneOf(
            "The part of the token request that carries the secret. The default is Body for AUTH_CODE and Basic for "
            "CLIENT_SECRET.",
            ("Body", "Header", "Basic"),
        ),
    ] = None
    secret_as: Annotated[
        str | None,
        Text("Name of the field, header field or user that carries the secret.", most=128, matches=(PLAIN,)),
    ] = None
    secret_format: Annotated[
        str | None,
        Text("Value that carries the secret, with `{secret}` once.", most=256, matches=SECRET_FORMAT),
    ] = None
    refresh_as: Annotated[
        str | None,
        Text("Name of the field for a refresh token. The default is `refresh_token`.", most=128, matches=(PLAIN,)),
    ] = None
    fields: Annotated[
        Mapping[str, str], Table("Fields to add to the token request.", VALUE, most=32, keys=(PLAIN,))
    ] = field(default_factory=dict)
    headers: Annotated[
        Mapping[str, str],
        Table("Header fields to add to the token request. Secrets do not belong here.", VALUE, most=32, keys=HEADER),
    ] = field(default_factory=dict)
    pointers: Annotated[
        Pointers | None, Section("Where the response of the token service holds each value.", Pointers)
    ] = None
    assertion: Annotated[Assertion | None, Section("The assertion that PrivateKeyJwt signs.", Assertion)] = None
    subject_token_type: Annotated[
        str | None,
        Text(
            "Type of the token that TokenExchange sends: `jwt` (the default), `access_token` and so on, or a URI.",
            matches=TOKEN_TYPE,
        ),
    ] = None
    requested_token_type: Annotated[
        str | None, Text("Type of the token that TokenExchange requests, in the same words.", matches=TOKEN_TYPE)
    ] = None
    header: Annotated[
        str | None,
        Text(
            "Header field that carries the token to the backend. The default is `Authorization`.",
            most=64,
            matches=HEADER,
        ),
    ] = None
    format: Annotated[
        str | None,
        Text(
            "Value of that header field. The default is `Bearer {token}`, on the Envelope dialect `{token}`.",
            most=256,
            matches=TOKEN_FORMAT,
        ),
    ] = None
    default_lifetime: Annotated[
        float | None,
        Duration("Lifetime of a token whose response states none. The default is 5m.", least=1.0, most=31_536_000.0),
    ] = None
    timeout: Annotated[float | None, Duration("Time limit of a token request. The default is 10s.", most=600)] = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Auth:
    grant: Annotated[Grant, OneOf("How Mimic obtains an access token.", get_args(Grant))] = "AuthCode"
    token_url: Annotated[str | None, web_address("URL of the token service.")] = None
    secret_ref: Annotated[
        CredentialSecret | None,
        Section(
            "The Secret with the credential. Only the keys that the grant needs are mounted: AUTH_CODE; CLIENT_SECRET "
            "and CLIENT_ID; PRIVATE_KEY; SUBJECT_TOKEN; REFRESH_TOKEN; ACCESS_TOKEN.",
            CredentialSecret,
        ),
    ] = None
    client_id: Annotated[
        str | None,
        Text("Id of the client. The default is the value in the Secret.", most=512, matches=(PLAIN,)),
    ] = None
    client_type: Annotated[
        Literal["Confidential", "Public"] | None,
        OneOf(
            "Whether the client has a secret of its own (RFC 6749, 2.1). The default is Confidential for "
            "ClientCredentials and RefreshToken, Public for AuthCode and TokenExchange.",
            ("Confidential", "Public"),
        ),
    ] = None
    scope: Annotated[str | None, Text("Scopes to request, separated by blanks.", most=1024, matches=(PLAIN,))] = None
    audience: Annotated[str | None, Text("Audience of the tokens to request.", most=1024, matches=(PLAIN,))] = None
    resource: Annotated[
        str | None, Text("URI of the backend that the tokens are for (RFC 8707).", most=1024, matches=(PLAIN,))
    ] = None
    single_use: Annotated[
        bool,
        Flag("The code, or each refresh token, works only once. This needs mode Deployment with one replica."),
    ] = False
    recipe: Annotated[Recipe, Section("Where the token service differs from what the grant prescribes.", Recipe)] = (
        field(default_factory=Recipe)
    )
    service_account_token: Annotated[
        ServiceAccountToken | None,
        Section(
            "A projected token of the pod's service account instead of a stored secret: TokenExchange exchanges it, "
            "ClientCredentials sends it as the client's assertion (workload identity federation).",
            ServiceAccountToken,
        ),
    ] = None
    token_store: Annotated[
        VolumeClaim | None,
        Section(
            "Volume that keeps rotated refresh tokens when the pod is replaced. The default is memory.", VolumeClaim
        ),
    ] = None

    @property
    def federated(self) -> bool:
        """Whether the client proves itself by the pod's identity instead of a secret."""
        return self.grant == "ClientCredentials" and self.service_account_token is not None


REQUESTING = ("AuthCode", "ClientCredentials", "PrivateKeyJwt", "TokenExchange", "RefreshToken")
"""Grants that request tokens from a token service."""
WITH_SECRET = ("AuthCode", "ClientCredentials", "PrivateKeyJwt", "RefreshToken", "Static")
"""Grants that need a stored secret."""
WITH_CLIENT_TYPE = ("AuthCode", "TokenExchange", "RefreshToken")
"""Grants of clients with or without a secret of their own."""
REQUEST = (
    "method",
    "encoding",
    "secret_in",
    "secret_as",
    "secret_format",
    "refresh_as",
    "pointers",
    "default_lifetime",
    "timeout",
)
"""Fields of the recipe that concern token requests."""


def _auth(field: str, cel: str, holds: Callable[[Auth], bool], sentence: str) -> Rule:
    return Rule(("auth",), (field,), cel, holds, sentence)


def _of_requesting(field: str) -> Rule:
    return _auth(
        field,
        f"!has(self.{key_of(field)}) || self.grant in {words(REQUESTING)}",
        lambda auth: getattr(auth, field) is None or auth.grant in REQUESTING,
        "is not used by the grants Static and None, which request no token",
    )


def _of_exchange(field: str, value: Callable[[Recipe], str | None]) -> Rule:
    return Rule(
        ("auth",),
        ("recipe", field),
        f"!has(self.recipe.{key_of(field)}) || self.grant == 'TokenExchange'",
        lambda auth: value(auth.recipe) is None or auth.grant == "TokenExchange",
        "is only for grant TokenExchange",
    )


def _any_of(path: str, names: Sequence[str]) -> str:
    return " || ".join(f"has({path}.{key_of(name)})" for name in names)


def _asks(recipe: Recipe) -> bool:
    return bool(recipe.fields or recipe.headers) or any(getattr(recipe, name) is not None for name in REQUEST)


RULES = (
    _auth(
        "token_url",
        f"has(self.tokenURL) == (self.grant in {words(REQUESTING)})",
        lambda auth: (auth.token_url is not None) == (auth.grant in REQUESTING),
        "is required by every grant but Static and None, and forbidden there",
    ),
    _auth(
        "secret_ref",
        f"has(self.secretRef) || !(self.grant in {words(WITH_SECRET)})"
        " || (self.grant == 'ClientCredentials' && has(self.serviceAccountToken))",
        lambda auth: auth.secret_ref is not None or auth.grant not in WITH_SECRET or auth.federated,
        "is required by this grant: it names the Secret with the credential",
    ),
    _auth(
        "secret_ref",
        "!has(self.secretRef) || self.grant != 'None'",
        lambda auth: auth.secret_ref is None or auth.grant != "None",
        "is not used by grant None",
    ),
    _auth(
        "service_account_token",
        "self.grant != 'TokenExchange' || has(self.serviceAccountToken) || has(self.secretRef)",
        lambda auth: auth.grant != "TokenExchange" or bool(auth.service_account_token or auth.secret_ref),
        "is required by grant TokenExchange, unless secretRef holds a SUBJECT_TOKEN",
    ),
    _auth(
        "service_account_token",
        "!has(self.serviceAccountToken) || self.grant in ['TokenExchange', 'ClientCredentials']",
        lambda auth: auth.service_account_token is None or auth.grant == "TokenExchange" or auth.federated,
        "is for the grants TokenExchange and ClientCredentials",
    ),
    _auth(
        "client_id",
        "self.grant != 'ClientCredentials' || !has(self.serviceAccountToken) || has(self.clientID)"
        " || has(self.secretRef)",
        lambda auth: not auth.federated or bool(auth.client_id or auth.secret_ref),
        "is required beside serviceAccountToken, unless secretRef holds a CLIENT_ID",
    ),
    *(_of_requesting(name) for name in ("client_id", "scope", "audience", "resource")),
    _auth(
        "client_type",
        f"!has(self.clientType) || self.grant in {words(WITH_CLIENT_TYPE)}",
        lambda auth: auth.client_type is None or auth.grant in WITH_CLIENT_TYPE,
        "is for the grants AuthCode, TokenExchange and RefreshToken; the others leave no choice",
    ),
    _auth(
        "client_type",
        "!has(self.clientType) || self.clientType == 'Public' || has(self.secretRef)",
        lambda auth: auth.client_type != "Confidential" or auth.secret_ref is not None,
        "must not be Confidential without a secretRef, whose Secret holds the client's secret",
    ),
    _auth(
        "single_use",
        "!self.singleUse || self.grant in ['AuthCode', 'RefreshToken']",
        lambda auth: not auth.single_use or auth.grant in ("AuthCode", "RefreshToken"),
        "is for the grants AuthCode and RefreshToken",
    ),
    _auth(
        "token_store",
        "!has(self.tokenStore) || self.singleUse",
        lambda auth: auth.token_store is None or auth.single_use,
        "is for credentials that work once: set singleUse",
    ),
    Rule(
        ("auth",),
        ("recipe",),
        f"self.grant in {words(REQUESTING)} || !({_any_of('self.recipe', REQUEST)}"
        " || self.recipe.fields.size() > 0 || self.recipe.headers.size() > 0)",
        lambda auth: auth.grant in REQUESTING or not _asks(auth.recipe),
        "can have only header and format with the grants Static and None, which request no token",
    ),
    Rule(
        ("auth",),
        ("recipe", "assertion"),
        "!has(self.recipe.assertion) || self.grant == 'PrivateKeyJwt'",
        lambda auth: auth.recipe.assertion is None or auth.grant == "PrivateKeyJwt",
        "is only for grant PrivateKeyJwt",
    ),
    _of_exchange("subject_token_type", lambda recipe: recipe.subject_token_type),
    _of_exchange("requested_token_type", lambda recipe: recipe.requested_token_type),
    Rule(
        ("auth", "recipe"),
        ("encoding",),
        "!has(self.method) || self.method != 'GET' || !has(self.encoding) || self.encoding == 'Query'",
        lambda recipe: recipe.method != "GET" or recipe.encoding in (None, "Query"),
        "must be Query with method GET, which has no body",
    ),
    Rule(
        ("auth", "recipe"),
        ("secret_as",),
        "!has(self.secretIn) || self.secretIn != 'Header' || (has(self.secretAs)"
        f' && self.secretAs.matches(r"{HEADER[0].pattern}") && !self.secretAs.matches(r"{HEADER[1].pattern}"))',
        lambda recipe: recipe.secret_in != "Header" or all(wanted.allows(recipe.secret_as or "") for wanted in HEADER),
        "must name the header field that carries the secret, and none that frames or routes the request",
    ),
    Rule(
        ("auth",),
        ("recipe", "secret_as"),
        "self.grant != 'AuthCode' || !has(self.recipe.secretIn) || self.recipe.secretIn != 'Basic'"
        " || has(self.recipe.secretAs) || has(self.clientID)"
        " || (has(self.clientType) && self.clientType == 'Confidential')",
        lambda auth: (
            auth.grant != "AuthCode"
            or auth.recipe.secret_in != "Basic"
            or bool(auth.recipe.secret_as or auth.client_id or auth.client_type == "Confidential")
        ),
        "must name a user for basic authentication, or clientID",
    ),
)
