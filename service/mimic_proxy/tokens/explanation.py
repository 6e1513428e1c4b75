"""What a call to the token service was and what came of it, fit to be shown to whoever has to mend it. Pure.

It holds no secret: of a request the names and harmless values, of an answer its keys and the kinds of their values.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

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

TRY_CERTIFICATES = "Set CA_BUNDLE to the issuer's certificate, or VERIFY_SSL=False where that is safe."
TRY_SCHEME = "Does TOKEN_URL speak https?"
TRY_PATH = "The path of TOKEN_URL may be wrong."
TRY_OWNERS = "If this lasts, ask the owners of the token service."
TRY_NETWORK = "If this lasts, check TOKEN_URL and the network between."
TRY_OTHER_URL = "Check that TOKEN_URL names a token service."
TRY_REDIRECT = "TOKEN_URL must name the final address: the secret goes nowhere else."
TRY_POINTER = "Check that TOKEN_URL names a token service; TOKEN_POINTER says where its answers hold the token."
TRY_REQUEST = "It may not understand the request: TOKEN_METHOD, TOKEN_ENCODING and TOKEN_FIELDS change it."
TRY_LATER = "Mimic waits as it was asked to. If this lasts, somebody else may use the same account."
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
    """One call in words. keys: of the answer, each with its kind, as in `data.token (text)`. tries: what may help."""

    sent: str
    came: str
    keys: tuple[str, ...] = ()
    tries: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()
    """What was odd about an answer that held a token."""
    said: str | None = None
    """The answer's own `error_description`, which RFC 6749, 5.2, means for developers; what was sent is masked."""


def advice(failure: Failure, *, grant: str, secret: str) -> str:
    """One sentence on what to try. secret: the variable that holds it."""
    if failure.error in BY_ERROR:
        return BY_ERROR[failure.error].replace("{grant}", grant)
    if failure.rejected:
        return f"{secret} is wrong or has expired: set a valid one."
    if failure.result == "http_error":
        if failure.status in (404, 405, 410):
            return TRY_PATH
        return TRY_REQUEST if failure.status in (406, 411, 415, 422) else TRY_OWNERS
    # The words are OpenSSL's, as Python writes them.
    if failure.result == "tls":
        return TRY_CERTIFICATES if "CERTIFICATE_VERIFY_FAILED" in failure.detail else TRY_SCHEME
    fixed = {
        "throttled": TRY_LATER,
        "redirected": TRY_REDIRECT,
        "no_token": TRY_POINTER,
        "error_answer": TRY_OWNERS,
        "timeout": TRY_NETWORK,
        "unreachable": TRY_NETWORK,
    }
    return fixed.get(failure.result, TRY_OTHER_URL)


def explain(
    recipe: Recipe,
    answer: TokenResponse | Failure,
    outcome: Failure | None,
    remarks: tuple[str, ...] = (),
    secrets: Sequence[str] = (),
) -> Explanation:
    """outcome: why there is no token, None if there is one. secrets: what was sent and may come back."""
    if isinstance(answer, Failure):
        return Explanation(
            recipe.shown(), answer.detail, tries=() if outcome is None else tuple(_tries(recipe, outcome))
        )
    document = decoded(answer.body)
    found = [] if document is MISSING else list(_keys(document))
    kind = answer.content_type or "no content type"
    size = f"{len(answer.body)} bytes" if answer.body else "an empty body"
    keys = tuple(f"{written(pointer)} ({KINDS.get(type(value), 'object')})" for pointer, value in found)
    tries = [] if outcome is None else [*_tries(recipe, outcome), *_places(found, outcome)]
    came = f"{answer.status}, {kind}, {size}"
    said = None if outcome is None else _said(document, secrets)
    return Explanation(recipe.shown(), came, keys[:MOST_KEYS], tuple(tries), remarks, said)


def _said(document: object, secrets: Sequence[str]) -> str | None:
    text = document.get("error_description") if isinstance(document, dict) else None
    if not isinstance(text, str) or not text.strip():
        return None
    for secret in secrets:
        text = text.replace(secret, "***") if secret else text
    # What looks like a token or a key is none of the words that explain.
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
        yield f"TOKEN_POINTER={place}: there stands a text that may be the token."


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
