"""The rules of `spec.auth`: what each grant needs, and what it has no use for."""

from collections.abc import Callable, Sequence

from mimic_operator.resource.patterns import HEADER
from mimic_operator.resource.rule import Rule, words
from mimic_operator.resource.shape import key_of
from mimic_operator.resource.spec import Auth
from mimic_operator.resource.spec.auth import Recipe

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


AUTH = (
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
)
RECIPE = (
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
