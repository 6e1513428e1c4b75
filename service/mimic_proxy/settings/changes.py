"""What a change of the settings means for a Mimic that runs. Pure.

Every setting is in one of these groups, or in none: then the next request just finds its new value.
"""

from collections.abc import Mapping
from dataclasses import dataclass

AT_START = frozenset(
    {
        "ADMIN_HOST",
        "ADMIN_PORT",
        "ALLOWED_HOSTS",
        "ALLOWED_ORIGINS",
        "HEAD_TIMEOUT",
        "HOST",
        "KEEP_ALIVE_TIMEOUT",
        "LOG_FORMAT",
        "MIMIC_GENAI_METRICS",
        "MIMIC_GENAI_PROVIDER",
        "MIMIC_GENAI_SPANS",
        "PORT",
        "STATUS_NETWORKS",
        "TLS_CERT",
        "TLS_KEY",
    }
)
"""Belong to a listening socket or to what is told of it: a new value holds after a restart."""
CONNECTIONS = frozenset(
    {
        "CA_BUNDLE",
        "CLIENT_CERT",
        "CLIENT_KEY",
        "CONNECT_TIMEOUT",
        "HTTPS_PROXY",
        "HTTP_PROXY",
        "NO_PROXY",
        "VERIFY_SSL",
    }
)
"""How the backend and the token service are reached: present connections are used no more."""
TOKENS = frozenset(
    {
        "ACCESS_TOKEN",
        "ASSERTION_ALGORITHM",
        "ASSERTION_AS",
        "ASSERTION_AUDIENCE",
        "ASSERTION_CLAIMS",
        "ASSERTION_LIFETIME",
        "AUDIENCE",
        "AUTH_CODE",
        "AUTH_CODE_SINGLE_USE",
        "CLIENT_ID",
        "CLIENT_SECRET",
        "GRANT",
        "ISSUER",
        "PRESET",
        "PRIVATE_KEY",
        "PRIVATE_KEY_ID",
        "REFRESH_TOKEN",
        "REQUESTED_TOKEN_TYPE",
        "RESOURCE",
        "SCOPE",
        "SUBJECT_TOKEN",
        "SUBJECT_TOKEN_TYPE",
        "TENANT",
        "TOKEN_DEFAULT_LIFETIME",
        "TOKEN_ENCODING",
        "TOKEN_ERROR_POINTER",
        "TOKEN_EXPIRY_POINTER",
        "TOKEN_FIELDS",
        "TOKEN_FORMAT",
        "TOKEN_HEADER",
        "TOKEN_LIFETIME_POINTER",
        "TOKEN_METHOD",
        "TOKEN_MIN_REFRESH_INTERVAL",
        "TOKEN_POINTER",
        "TOKEN_REFRESH_AS",
        "TOKEN_REFRESH_POINTER",
        "TOKEN_REQUEST_HEADERS",
        "TOKEN_SECRET_AS",
        "TOKEN_SECRET_FORMAT",
        "TOKEN_SECRET_IN",
        "TOKEN_STORE",
        "TOKEN_TIMEOUT",
        "TOKEN_URL",
    }
)
"""How tokens are obtained: the next one is, at once where it is for someone or something else."""


@dataclass(frozen=True, slots=True)
class Change:
    """Names of what is another value now."""

    names: frozenset[str]
    late: frozenset[str]
    """Of these, those that hold after a restart."""

    @property
    def now(self) -> frozenset[str]:
        """Those that hold from now on."""
        return self.names - self.late

    @property
    def tokens(self) -> bool:
        """Tokens are had in another way."""
        return bool(self.now & TOKENS)

    @property
    def connections(self) -> bool:
        """The backend or the token service is reached in another way."""
        return bool(self.now & CONNECTIONS)


def compare(old: Mapping[str, object], new: Mapping[str, object]) -> Change:
    """Compares all settings by their names."""
    names = frozenset(name for name, value in new.items() if old.get(name) != value)
    return Change(names, names & AT_START)
