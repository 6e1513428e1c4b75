"""What can be set on the demo backend."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

DEFAULT_CODE = "demo-code"
DEFAULT_LIFETIME_SECONDS = 60.0

Dialect = Literal["openai", "envelope"]
StreamForm = Literal["sse", "ndjson", "plain"]
StreamText = Literal["delta", "cumulative"]
Grant = Literal[
    "auth_code", "client_credentials", "private_key_jwt", "token_exchange", "refresh_token", "static", "none"
]

_TRUE = frozenset({"1", "true", "yes", "on"})


@dataclass(frozen=True, slots=True)
class DemoOptions:
    """code: what the token service takes for an access token.
    lifetime: seconds an access token lives.
    any_token: any bearer token passes; for tests that talk to the backend without a token service.
    always_float: embeddings are float lists even where base64 is asked for.
    dialect: which of its two APIs is put behind a Mimic: /v1 is always there, and so is the gateway.
    stream: how the gateway streams; plain answers whole.
    stream_text: whether each event of the gateway holds what is new, or all that there is so far.
    grant: how the token service is asked.
    """

    code: str = field(default=DEFAULT_CODE, repr=False)
    lifetime: float = DEFAULT_LIFETIME_SECONDS
    any_token: bool = False
    always_float: bool = False
    dialect: Dialect = "openai"
    stream: StreamForm = "sse"
    stream_text: StreamText = "delta"
    grant: Grant = "auth_code"

    @classmethod
    def from_environ(cls, environ: Mapping[str, str]) -> "DemoOptions":
        """Options from DEMO_CODE, DEMO_TOKEN_LIFETIME (seconds), DEMO_ANY_TOKEN, DEMO_ALWAYS_FLOAT_EMBEDDINGS,
        DEMO_DIALECT (openai, envelope), DEMO_STREAM (sse, ndjson, plain), DEMO_STREAM_TEXT (delta, cumulative) and
        DEMO_GRANT (auth_code, client_credentials, ...).

        Raises ValueError if the lifetime is no positive number, or a word is none of those.
        """
        return cls(
            code=environ.get("DEMO_CODE") or DEFAULT_CODE,
            lifetime=_lifetime(environ),
            any_token=environ.get("DEMO_ANY_TOKEN", "").lower() in _TRUE,
            always_float=environ.get("DEMO_ALWAYS_FLOAT_EMBEDDINGS", "").lower() in _TRUE,
            dialect=_word(environ, "DEMO_DIALECT", Dialect),
            stream=_word(environ, "DEMO_STREAM", StreamForm),
            stream_text=_word(environ, "DEMO_STREAM_TEXT", StreamText),
            grant=_word(environ, "DEMO_GRANT", Grant),
        )


def lifetime(text: str) -> float:
    """A token lifetime in seconds. Raises ValueError unless it is a positive, finite number."""
    seconds = float(text)
    if not 0 < seconds < float("inf"):
        raise ValueError("a token lifetime is a positive number of seconds")
    return seconds


def _lifetime(environ: Mapping[str, str]) -> float:
    try:
        return lifetime(environ.get("DEMO_TOKEN_LIFETIME") or str(DEFAULT_LIFETIME_SECONDS))
    except ValueError as error:
        raise ValueError(f"DEMO_TOKEN_LIFETIME: {error}") from None


def _word(environ: Mapping[str, str], name: str, words: Any) -> Any:
    """One of the words of a Literal, the first of them by default."""
    known = get_args(words)
    word = environ.get(name, "").lower() or known[0]
    if word not in known:
        raise ValueError(f"{name}: must be one of {', '.join(known)}")
    return word
