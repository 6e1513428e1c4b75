"""What can be set on the demo backend."""

from collections.abc import Mapping
from dataclasses import dataclass, field

DEFAULT_CODE = "demo-code"
DEFAULT_LIFETIME_SECONDS = 60.0

_TRUE = frozenset({"1", "true", "yes", "on"})


@dataclass(frozen=True, slots=True)
class DemoOptions:
    """code: what the token service takes for an access token.
    lifetime: seconds an access token lives.
    any_token: any bearer token passes; for tests that talk to the backend without a token service.
    always_float: embeddings are float lists even where base64 is asked for.
    grant: how the token service is asked; one of `credentials.GRANTS`.
    """

    code: str = field(default=DEFAULT_CODE, repr=False)
    lifetime: float = DEFAULT_LIFETIME_SECONDS
    any_token: bool = False
    always_float: bool = False
    grant: str = "auth_code"

    @classmethod
    def from_environ(cls, environ: Mapping[str, str]) -> "DemoOptions":
        """Options from DEMO_CODE, DEMO_TOKEN_LIFETIME (seconds), DEMO_ANY_TOKEN, DEMO_ALWAYS_FLOAT_EMBEDDINGS.

        Raises ValueError if the lifetime is no positive number.
        """
        return cls(
            code=environ.get("DEMO_CODE") or DEFAULT_CODE,
            lifetime=lifetime(environ.get("DEMO_TOKEN_LIFETIME") or str(DEFAULT_LIFETIME_SECONDS)),
            any_token=environ.get("DEMO_ANY_TOKEN", "").lower() in _TRUE,
            always_float=environ.get("DEMO_ALWAYS_FLOAT_EMBEDDINGS", "").lower() in _TRUE,
        )


def lifetime(text: str) -> float:
    """A token lifetime in seconds. Raises ValueError unless it is a positive, finite number."""
    seconds = float(text)
    if not 0 < seconds < float("inf"):
        raise ValueError("a token lifetime is a positive number of seconds")
    return seconds
