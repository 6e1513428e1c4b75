"""Explains a request to the token service and its response to the person who has to fix a failure. Pure.

An explanation holds no secret: of a request the names and harmless values, of a response its keys and their types.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import Enum

from mimic_proxy.pointer import MISSING, Pointer, written
from mimic_proxy.tokens.recipe import Recipe
from mimic_proxy.tokens.response import Failure, TokenResponse, decoded

MOST_KEYS = 30
DEEPEST = 4
LONGEST_KEY = 40
LONGEST_SAID = 300
LONGEST_WORD = 30
LIKELY_TOKEN_LENGTH = 16
KINDS = {str: "text", bool: "true or false", int: "number", float: "number", type(None): "null", list: "list"}


class Advice(Enum):
    """What may help after a failure; the value is the sentence that ends its message."""

    CERTIFICATES = "Set CA_BUNDLE to the issuer's certificate, or VERIFY_SSL=False where that is safe."
    SCHEME = "Does TOKEN_URL speak https?"
    PATH = "The path of TOKEN_URL may be wrong."
    OWNERS = "If this lasts, ask the owners of the token service."
    NETWORK = "If this lasts, check TOKEN_URL and the network between."
    OTHER_URL = "Check that TOKEN_URL names a token service."
    REDIRECT = "TOKEN_URL must name the final address: the secret goes nowhere else."
    POINTER = "Check that TOKEN_URL names a token service; TOKEN_POINTER says where its answers hold the token."
    REQUEST = "It may not understand the request: TOKEN_METHOD, TOKEN_ENCODING and TOKEN_FIELDS change it."
    LATER = "Mimic waits as the response requests. If this lasts, another client may use the same account."
    SECRET = "{secret} is wrong or has expired: set a valid one."
    BY_ERROR = "{error}"
    """The token service has named the error: its sentence says all."""


BY_ERROR = {
    "invalid_client": "It does not know the client or its secret: check CLIENT_ID, the secret, and TOKEN_SECRET_IN.",
    # Keycloak's word for a wrong secret, too.
    "unauthorized_client": "It does not know the client or its secret, or does not allow it GRANT={grant}: check "
    "CLIENT_ID and the secret, then ask its owners.",
    "unsupported_grant_type": "It does not offer GRANT={grant} at this URL: check GRANT and TOKEN_URL.",
    "invalid_scope": "Check SCOPE.",
    "invalid_target": "Check AUDIENCE and RESOURCE.",
    "invalid_request": "The request lacks something or has too much: check SCOPE, TOKEN_ENCODING and TOKEN_FIELDS.",
}
"""By the error code of RFC 6749, 5.2."""


@dataclass(frozen=True, slots=True)
class Explanation:
    """One request in words. keys: of the response, with their types, as `data.token (text)`. tries: what may help."""

    sent: str
    came: str
    keys: tuple[str, ...] = ()
    tries: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()
    """What is odd about a response that holds a token."""
    advice: Advice | None = None
    """What the failure's message has advised."""
    said: str | None = None
    """The `error_description` of the response, which RFC 6749, 5.2, means for developers; what was sent is masked."""


def advised(failure: Failure) -> Advice:
    """What may help."""
    if failure.error in BY_ERROR:
        return Advice.BY_ERROR
    if failure.rejected:
        return Advice.SECRET
    if failure.result == "http_error":
        if failure.status in (404, 405, 410):
            return Advice.PATH
        return Advice.REQUEST if failure.status in (406, 411, 415, 422) else Advice.OWNERS
    # The words are OpenSSL's, as Python writes them.
    if failure.result == "tls":
        return Advice.CERTIFICATES if "CERTIFICATE_VERIFY_FAILED" in failure.detail else Advice.SCHEME
    fixed = {
        "throttled": Advice.LATER,
        "redirected": Advice.REDIRECT,
        "no_token": Advice.POINTER,
        "error_answer": Advice.OWNERS,
        "timeout": Advice.NETWORK,
        "unreachable": Advice.NETWORK,
    }
    return fixed.get(failure.result, Advice.OTHER_URL)


def advice(failure: Failure, *, grant: str, secret: str) -> str:
    """One sentence on what to try. secret: the variable that holds it."""
    sentence = advised(failure).value.replace("{error}", BY_ERROR.get(failure.error or "", ""))
    return sentence.replace("{secret}", secret).replace("{grant}", grant)


def explain(
    recipe: Recipe,
    answer: TokenResponse | Failure,
    outcome: Failure | None,
    remarks: tuple[str, ...] = (),
    secrets: Sequence[str] = (),
) -> Explanation:
    """outcome: why there is no token, None if there is one. secrets: what was sent and may come back."""
    advice = None if outcome is None else advised(outcome)
    if isinstance(answer, Failure):
        tries = [] if outcome is None else list(_tries(recipe, outcome))
        return Explanation(recipe.shown(), answer.detail, tries=tuple(tries), advice=advice)
    document = decoded(answer.body)
    found = [] if document is MISSING else list(_keys(document))
    kind = answer.content_type or "no content type"
    size = f"{len(answer.body)} bytes" if answer.body else "an empty body"
    keys = tuple(f"{written(pointer)} ({KINDS.get(type(value), 'object')})" for pointer, value in found)
    tries = [] if outcome is None else [*_tries(recipe, outcome), *_places(found, outcome)]
    came = f"{answer.status}, {kind}, {size}"
    said = None if outcome is None else _said(document, secrets)
    return Explanation(recipe.shown(), came, keys[:MOST_KEYS], tuple(tries), remarks, advice, said)


def _said(document: object, secrets: Sequence[str]) -> str | None:
    text = document.get("error_description") if isinstance(document, dict) else None
    if not isinstance(text, str) or not text.strip():
        return None
    for secret in secrets:
        text = text.replace(secret, "***") if secret else text
    # A long word may be a token or a key.
    words = ("***" if len(word) > LONGEST_WORD else word for word in _printable(text, LONGEST_SAID).split())
    return " ".join(words)


def _keys(document: object, above: Pointer = ()) -> Iterator[tuple[Pointer, object]]:
    """Every key down to DEEPEST with its value; of a list only the first element."""
    if isinstance(document, dict):
        inner = [(_printable(key), value) for key, value in document.items()]
    else:
        inner = [("0", document[0])] if isinstance(document, list) and document else []
    for key, value in inner[:MOST_KEYS]:
        yield (*above, key), value
        if len(above) + 1 < DEEPEST:
            yield from _keys(value, (*above, key))


def _printable(key: str, longest: int = LONGEST_KEY) -> str:
    return "".join(part if part.isprintable() else " " for part in key[:longest])


def _places(found: list[tuple[Pointer, object]], outcome: Failure) -> Iterator[str]:
    """Keys of the answer that may hold the token."""
    if outcome.result != "no_token":
        return
    likely = [
        written(pointer)
        for pointer, value in found
        if isinstance(value, str)
        and len(value) >= LIKELY_TOKEN_LENGTH
        and ("token" in pointer[-1].lower() or "jwt" in pointer[-1].lower())
        and not {"refresh", "type"} & set(pointer[-1].lower().replace("-", "_").split("_"))
    ]
    for place in likely[:3]:
        yield f"TOKEN_POINTER={place} holds a text that may be the token."


def _tries(recipe: Recipe, outcome: Failure) -> Iterator[str]:
    """Changes of the recipe that have helped with such failures."""
    basic = any(place.where == "basic" for place in recipe.places)
    if outcome.status in (400, 401, 415, 422) and outcome.error in (None, "invalid_request"):
        other = "form" if recipe.encoding == "json" else "json"
        yield f"TOKEN_ENCODING={other}: the fields are sent as {recipe.encoding} now."
    if outcome.status in (400, 401) and outcome.error in (None, "invalid_client", "invalid_request") and basic:
        yield "TOKEN_SECRET_IN=body: the secret is sent by basic authentication now, which not every service takes."
    if outcome.status == 405:
        yield f"TOKEN_METHOD: {recipe.method} is sent now."
