"""What each GRANT needs of the settings, what it takes besides, and what it leaves unused."""

from collections.abc import Container, Iterator, Mapping

ALWAYS = {
    "CHAT_API_URL": "the base URL of the chat completion API",
    "EMBEDDING_API_URL": "the base URL of the embedding API",
}
TOKEN_URL = {"TOKEN_URL": "where access tokens are fetched"}
CLIENT_ID = {"CLIENT_ID": "the name under which the token service knows this client"}
NEEDED: Mapping[str, Mapping[str, str]] = {
    "auth_code": {
        **TOKEN_URL,
        "AUTH_CODE": "the authorization code for the token request (AUTH_CODE_FILE names a file with it)",
    },
    "client_credentials": {
        **TOKEN_URL,
        "CLIENT_SECRET": "the client's secret (CLIENT_SECRET_FILE names a file with it)",
    },
    "private_key_jwt": {
        **TOKEN_URL,
        "PRIVATE_KEY": "the key that signs assertions; PRIVATE_KEY_FILE names the file with it, PEM or JSON",
    },
    "token_exchange": {
        **TOKEN_URL,
        "SUBJECT_TOKEN": "the token to exchange; SUBJECT_TOKEN_FILE names the file with it",
    },
    "refresh_token": {
        **TOKEN_URL,
        "REFRESH_TOKEN": "the first refresh token (REFRESH_TOKEN_FILE names a file with it)",
    },
    "static": {"ACCESS_TOKEN": "the token that GRANT=static sends (ACCESS_TOKEN_FILE names a file with it)"},
    "none": {},
}
CLIENT = ("CLIENT_ID", "CLIENT_SECRET")
ASKED_FOR = ("SCOPE", "AUDIENCE", "RESOURCE")
OPTIONAL: Mapping[str, tuple[str, ...]] = {
    "auth_code": (*CLIENT, *ASKED_FOR, "TOKEN_STORE", "AUTH_CODE_SINGLE_USE", "TOKEN_REFRESH_AS"),
    "client_credentials": ("CLIENT_ID", *ASKED_FOR),
    "private_key_jwt": (
        "CLIENT_ID",
        *ASKED_FOR,
        "PRIVATE_KEY_ID",
        "ASSERTION_AS",
        "ASSERTION_ALGORITHM",
        "ASSERTION_AUDIENCE",
        "ASSERTION_LIFETIME",
        "ASSERTION_CLAIMS",
    ),
    "token_exchange": (*CLIENT, *ASKED_FOR, "SUBJECT_TOKEN_TYPE", "REQUESTED_TOKEN_TYPE"),
    "refresh_token": (*CLIENT, *ASKED_FOR, "TOKEN_STORE", "TOKEN_REFRESH_AS"),
    "static": (),
    "none": (),
}
REQUEST = (
    "TOKEN_METHOD",
    "TOKEN_ENCODING",
    "TOKEN_FIELDS",
    "TOKEN_REQUEST_HEADERS",
    "TOKEN_SECRET_IN",
    "TOKEN_SECRET_AS",
    "TOKEN_SECRET_FORMAT",
    "TOKEN_POINTER",
    "TOKEN_LIFETIME_POINTER",
    "TOKEN_EXPIRY_POINTER",
    "TOKEN_ERROR_POINTER",
    "TOKEN_REFRESH_POINTER",
)
"""How the token service is asked and its answer read, for all grants that ask one."""
WITHOUT_SERVICE = ("static", "none")
SPECIFIC = frozenset(
    name for grant in NEEDED for name in (*NEEDED[grant], *OPTIONAL[grant]) if name != "TOKEN_URL"
) | frozenset(REQUEST)
"""Settings that not every grant uses. TOKEN_URL may stay where it is while another grant is tried."""


def required(grant: str) -> dict[str, str]:
    """The variables that must be set, and what each is for."""
    return {**ALWAYS, **NEEDED[grant]}


def users(name: str) -> tuple[str, ...]:
    """The grants that use the variable `name`; empty if it has nothing to do with grants."""
    if name in REQUEST:
        return tuple(grant for grant in NEEDED if grant not in WITHOUT_SERVICE)
    return tuple(grant for grant in NEEDED if name in NEEDED[grant] or name in OPTIONAL[grant])


def unused(grant: str, given: Container[str]) -> Iterator[str]:
    """One sentence for each setting that is `given` by its variable, `_FILE` included, without any effect."""
    for setting in sorted(SPECIFIC):
        if grant not in users(setting):
            for name in (setting, f"{setting}_FILE"):
                if name in given:
                    yield f"{name} is set, but GRANT={grant} does not use it"
