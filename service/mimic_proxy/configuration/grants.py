"""What each GRANT needs of the settings, and what it leaves unused."""

from collections.abc import Container, Iterator

ALWAYS = {
    "CHAT_API_URL": "the base URL of the chat completion API",
    "EMBEDDING_API_URL": "the base URL of the embedding API",
}
NEEDED = {
    "auth_code": {
        "TOKEN_URL": "where access tokens are fetched",
        "AUTH_CODE": "the authorization code for the token request (AUTH_CODE_FILE names a file with it)",
    },
    "static": {"ACCESS_TOKEN": "the token that GRANT=static sends (ACCESS_TOKEN_FILE names a file with it)"},
    "none": {},
}
CREDENTIALS = (
    "ACCESS_TOKEN",
    "AUTH_CODE",
    "CLIENT_ID",
    "CLIENT_SECRET",
    "PRIVATE_KEY_FILE",
    "REFRESH_TOKEN",
    "SCOPE",
    "SUBJECT_TOKEN_FILE",
    "TOKEN_STORE",
)
"""Settings that say who asks for a token; each grant uses those it needs and no other."""


def required(grant: str) -> dict[str, str]:
    """The variables that must be set, and what each is for."""
    return ALWAYS | NEEDED[grant]


def unused(grant: str, given: Container[str]) -> Iterator[str]:
    """One sentence for each credential that is `given` by its variable, `_FILE` included, without any effect."""
    for credential in CREDENTIALS:
        if credential not in NEEDED[grant]:
            for name in (credential, f"{credential}_FILE"):
                if name in given:
                    yield f"{name} is set, but GRANT={grant} does not use it"
