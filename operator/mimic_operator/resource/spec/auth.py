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
    HEADER,
    PLACES,
    PLAIN,
    SECRET_FORMAT,
    TOKEN_FORMAT,
    TOKEN_TYPE,
    SecretName,
    object_name,
    web_address,
)

Grant = Literal["AuthCode", "ClientCredentials", "PrivateKeyJwt", "TokenExchange", "RefreshToken", "Static", "None"]
Algorithm = Literal["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"]
PLACE: Kind = Text("Keys joined by dots, or a JSON Pointer (RFC 6901).", most=256, matches=PLACES)
VALUE: Kind = Text("Its value.", most=2048, least=0, matches=(PLAIN,))


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceAccountToken:
    audience: Annotated[
        str,
        Text("Whom the token is for, as the token service wants it; never the API server.", most=512, matches=AUDIENCE),
    ]
    expiration_seconds: Annotated[int, Whole("Its lifetime; the kubelet renews it at 80 %.", 600, 86_400)] = 3600


@dataclass(frozen=True, slots=True, kw_only=True)
class VolumeClaim:
    claim_name: Annotated[str, object_name("Name of a PersistentVolumeClaim in the same namespace.")]


@dataclass(frozen=True, slots=True, kw_only=True)
class Pointers:
    """Where an answer of the token service holds what is needed; of several places the first that is there counts."""

    token: Annotated[tuple[str, ...], Items("The token; `data.access_token` or `access_token`.", PLACE, most=8)] = ()
    lifetime: Annotated[tuple[str, ...], Items("Its lifetime in seconds; `expires_in` beside it.", PLACE, most=8)] = ()
    expiry: Annotated[tuple[str, ...], Items("Its time of expiry; `expires_at` beside it.", PLACE, most=8)] = ()
    error: Annotated[tuple[str, ...], Items("An error's code; `error`, `errorCode` and the like.", PLACE, most=8)] = ()
    refresh_token: Annotated[
        tuple[str, ...], Items("The next refresh token; `refresh_token` beside the token.", PLACE, most=8)
    ] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Assertion:
    """What PrivateKeyJwt signs (RFC 7523)."""

    as_: Annotated[
        Literal["Client", "Grant"] | None,
        OneOf(
            "It authenticates the client (RFC 7523, 2.2; so if left out) or is the grant (2.1).", ("Client", "Grant")
        ),
    ] = None
    algorithm: Annotated[
        Algorithm | None, OneOf("How it is signed; RS256, ES256 or EdDSA as the key is.", get_args(Algorithm))
    ] = None
    key_id: Annotated[str | None, Text("The key's id (`kid`).", most=256, matches=(PLAIN,))] = None
    audience: Annotated[str | None, Text("To whom it is addressed; the token URL.", most=2048, matches=(PLAIN,))] = None
    lifetime: Annotated[float | None, Duration("For how long it is valid; 1m.", least=1, most=3600)] = None
    claims: Annotated[Mapping[str, str], Table("Claims to add or replace.", VALUE, most=32, keys=(PLAIN,))] = field(
        default_factory=dict
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """Where token service and backend differ from what the grant prescribes."""

    method: Annotated[
        Literal["POST", "GET", "PUT"] | None, OneOf("Method of the token request; POST.", ("POST", "GET", "PUT"))
    ] = None
    encoding: Annotated[
        Literal["JSON", "Form", "Query"] | None,
        OneOf("How its fields are sent; JSON for AuthCode, Form for all others.", ("JSON", "Form", "Query")),
    ] = None
    secret_in: Annotated[
        Literal["Body", "Header", "Basic"] | None,
        OneOf("Where AUTH_CODE (Body) or CLIENT_SECRET (Basic) goes.", ("Body", "Header", "Basic")),
    ] = None
    secret_as: Annotated[
        str | None,
        Text("The field, header field or user that carries it.", most=128, matches=(PLAIN,)),
    ] = None
    secret_format: Annotated[
        str | None, Text("What is sent for it, with `{secret}` once.", most=256, matches=SECRET_FORMAT)
    ] = None
    refresh_as: Annotated[
        str | None, Text("The field for a refresh token; `refresh_token`.", most=128, matches=(PLAIN,))
    ] = None
    fields: Annotated[
        Mapping[str, str], Table("Fields to add to the token request.", VALUE, most=32, keys=(PLAIN,))
    ] = field(default_factory=dict)
    headers: Annotated[
        Mapping[str, str], Table("Header fields to add to it; no secrets.", VALUE, most=32, keys=HEADER)
    ] = field(default_factory=dict)
    pointers: Annotated[Pointers | None, Section("Where the answer holds what is needed.", Pointers)] = None
    assertion: Annotated[Assertion | None, Section("What PrivateKeyJwt signs.", Assertion)] = None
    subject_token_type: Annotated[
        str | None,
        Text("What TokenExchange sends: `jwt`, `access_token` and so on, or a URI; jwt.", matches=TOKEN_TYPE),
    ] = None
    requested_token_type: Annotated[str | None, Text("What it asks for, in the same words.", matches=TOKEN_TYPE)] = None
    header: Annotated[
        str | None, Text("Header field in which the backend wants the token; `Authorization`.", most=64, matches=HEADER)
    ] = None
    format: Annotated[
        str | None,
        Text(
            "Value of that field; `Bearer {token}`, on the Envelope dialect `{token}`.", most=256, matches=TOKEN_FORMAT
        ),
    ] = None
    default_lifetime: Annotated[
        float | None, Duration("Lifetime of tokens that tell none; 5m.", least=1.0, most=31_536_000.0)
    ] = None
    timeout: Annotated[float | None, Duration("For one token request; 10s.", most=600)] = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Auth:
    grant: Annotated[Grant, OneOf("How an access token is had.", get_args(Grant))] = "AuthCode"
    token_url: Annotated[str | None, web_address("Where access tokens are fetched.")] = None
    secret_ref: Annotated[
        SecretName | None,
        Section(
            "The Secret with the credential, its keys named as in `.env`: AUTH_CODE; CLIENT_SECRET and CLIENT_ID; "
            "PRIVATE_KEY; SUBJECT_TOKEN; REFRESH_TOKEN; ACCESS_TOKEN. Only the keys that the grant needs are mounted.",
            SecretName,
        ),
    ] = None
    client_id: Annotated[
        str | None, Text("The client's id; else the Secret's key CLIENT_ID.", most=512, matches=(PLAIN,))
    ] = None
    client_type: Annotated[
        Literal["Confidential", "Public"] | None,
        OneOf(
            "Whether the client has a CLIENT_SECRET (RFC 6749, 2.1). ClientCredentials and RefreshToken: Confidential; "
            "AuthCode and TokenExchange: Public.",
            ("Confidential", "Public"),
        ),
    ] = None
    scope: Annotated[str | None, Text("Scopes asked for, separated by blanks.", most=1024, matches=(PLAIN,))] = None
    audience: Annotated[str | None, Text("For whom tokens are asked for.", most=1024, matches=(PLAIN,))] = None
    resource: Annotated[
        str | None, Text("URI of the backend that tokens are for (RFC 8707).", most=1024, matches=(PLAIN,))
    ] = None
    single_use: Annotated[
        bool,
        Flag("The code, or each refresh token, works only once: needs Deployment mode with one replica."),
    ] = False
    recipe: Annotated[Recipe, Section("Where the token service differs from the grant's standard.", Recipe)] = field(
        default_factory=Recipe
    )
    service_account_token: Annotated[
        ServiceAccountToken | None,
        Section(
            "A projected token of the pod's service account, and no stored secret: TokenExchange exchanges it, "
            "ClientCredentials shows it as the client's assertion (workload identity federation).",
            ServiceAccountToken,
        ),
    ] = None
    token_store: Annotated[
        VolumeClaim | None,
        Section("Volume that keeps rotated refresh tokens beyond a pod's life; else memory.", VolumeClaim),
    ] = None

    @property
    def federated(self) -> bool:
        """Whether the client proves itself by the pod's identity instead of a secret."""
        return self.grant == "ClientCredentials" and self.service_account_token is not None


ASKING = ("AuthCode", "ClientCredentials", "PrivateKeyJwt", "TokenExchange", "RefreshToken")
"""Grants that ask a token service."""
KEEPING = ("AuthCode", "ClientCredentials", "PrivateKeyJwt", "RefreshToken", "Static")
"""Grants that need a stored secret."""
CHOOSING = ("AuthCode", "TokenExchange", "RefreshToken")
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
"""Of the recipe: what is said of token requests."""


def _auth(field: str, cel: str, holds: Callable[[Auth], bool], sentence: str) -> Rule:
    return Rule(("auth",), (field,), cel, holds, sentence)


def _of_askers(field: str) -> Rule:
    return _auth(
        field,
        f"!has(self.{key_of(field)}) || self.grant in {words(ASKING)}",
        lambda auth: getattr(auth, field) is None or auth.grant in ASKING,
        "is not used by the grants Static and None, which ask nobody",
    )


def _of_exchange(field: str, value: Callable[[Recipe], str | None]) -> Rule:
    return Rule(
        ("auth",),
        ("recipe", field),
        f"!has(self.recipe.{key_of(field)}) || self.grant == 'TokenExchange'",
        lambda auth: value(auth.recipe) is None or auth.grant == "TokenExchange",
        "is for grant TokenExchange alone",
    )


def _any_of(path: str, names: Sequence[str]) -> str:
    return " || ".join(f"has({path}.{key_of(name)})" for name in names)


def _asks(recipe: Recipe) -> bool:
    return bool(recipe.fields or recipe.headers) or any(getattr(recipe, name) is not None for name in REQUEST)


RULES = (
    _auth(
        "token_url",
        f"has(self.tokenURL) == (self.grant in {words(ASKING)})",
        lambda auth: (auth.token_url is not None) == (auth.grant in ASKING),
        "is required by every grant but Static and None, which ask nobody",
    ),
    _auth(
        "secret_ref",
        f"has(self.secretRef) || !(self.grant in {words(KEEPING)})"
        " || (self.grant == 'ClientCredentials' && has(self.serviceAccountToken))",
        lambda auth: auth.secret_ref is not None or auth.grant not in KEEPING or auth.federated,
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
    *(_of_askers(name) for name in ("client_id", "scope", "audience", "resource")),
    _auth(
        "client_type",
        f"!has(self.clientType) || self.grant in {words(CHOOSING)}",
        lambda auth: auth.client_type is None or auth.grant in CHOOSING,
        "is for the grants AuthCode, TokenExchange and RefreshToken; the others leave no choice",
    ),
    _auth(
        "client_type",
        "!has(self.clientType) || self.clientType == 'Public' || has(self.secretRef)",
        lambda auth: auth.client_type != "Confidential" or auth.secret_ref is not None,
        "is Confidential, and no secretRef names the Secret with CLIENT_SECRET",
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
        f"self.grant in {words(ASKING)} || !({_any_of('self.recipe', REQUEST)}"
        " || self.recipe.fields.size() > 0 || self.recipe.headers.size() > 0)",
        lambda auth: auth.grant in ASKING or not _asks(auth.recipe),
        "can have nothing but header and format with the grants Static and None, which ask nobody",
    ),
    Rule(
        ("auth",),
        ("recipe", "assertion"),
        "!has(self.recipe.assertion) || self.grant == 'PrivateKeyJwt'",
        lambda auth: auth.recipe.assertion is None or auth.grant == "PrivateKeyJwt",
        "is for grant PrivateKeyJwt alone",
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
        "must name the header field for the secret, which secretIn puts there; none that frames or routes the request",
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
