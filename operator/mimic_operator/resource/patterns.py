"""What texts of a resource must look like: RE2 patterns, which Python's `re` reads alike, each with its sentence."""

from mimic_operator.resource.shape import Match

_HOST = r"[A-Za-z0-9_][A-Za-z0-9_-]{0,62}(\.[A-Za-z0-9_][A-Za-z0-9_-]{0,62})*\.?"
_PORT = r"(:(6553[0-5]|655[0-2][0-9]|65[0-4][0-9]{2}|6[0-4][0-9]{3}|[1-5][0-9]{4}|[1-9][0-9]{0,3}))?"
_REST = r"([/?]([A-Za-z0-9._~:/?@!$&'()*+,;=\[\]-]|%[0-9A-Fa-f]{2})*)?"
URL = (
    Match("^https?://", "must begin with https:// or http://"),
    Match("^[a-z]+://[^/?]*@", "must not hold a user name or password; credentials belong into the Secret", never=True),
    Match("#", "must not hold a fragment (#...); a server never sees it", never=True),
    Match(
        rf"^https?://({_HOST}|\[[0-9A-Fa-f:.]{{2,45}}\]){_PORT}{_REST}$",
        "must be a URL like https://models.example.com/v1",
    ),
)
DNS_LABEL = Match(r"^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$", "must be a name of lower case letters, digits, - and .")
PLAIN = Match(r"^[!-~]([ -~]*[!-~])?$", "must be printable ASCII without blanks at its ends")
ENV_NAME = Match(r"^[A-Za-z_][A-Za-z0-9_]*$", "must be a variable's name: letters, digits and _")
LABEL_KEY = Match(
    r"^([a-z0-9]([a-z0-9.-]*[a-z0-9])?/)?[A-Za-z0-9]([A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?$",
    "must be a label's key, as in app.kubernetes.io/name",
)
IMAGE = Match(
    r"^[a-z0-9]([A-Za-z0-9._:/-]*[A-Za-z0-9])?$",
    "must be a registry and path without tag, as in registry.example.com/mimic",
)
HEADER = (
    Match(r"^[!#$%&'*+.^_`|~0-9A-Za-z-]+$", "must be the name of a header field, as in Authorization"),
    Match(
        "^(?i:host|connection|content-length|transfer-encoding|te|trailer|upgrade)$",
        "must not be a header field that frames or routes the request",
        never=True,
    ),
)
POINTER = (
    Match(r"^[ -~]*$", "must be printable ASCII"),
    Match(r"^[^{]*\{token\}[^{]*$", "must contain {token} once, as in Bearer {token}"),
)
AUDIENCE = (
    PLAIN,
    Match(
        r"^(https?://)?kubernetes(\.default(\.svc(\.[a-z0-9.-]+)?)?)?(:[0-9]+)?/?$",
        "must not be the API server's: the token service could then act as the workload",
        never=True,
    ),
)
