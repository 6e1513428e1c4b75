"""What several sections of a MimicBackend are built of: patterns, names of objects, URLs, label selectors."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Literal

from mimic_operator.resource.fields import Foreign, Items, Kind, Match, OneOf, Section, SectionRule, Table, Text

_HOST = r"[A-Za-z0-9_][A-Za-z0-9_-]{0,62}(\.[A-Za-z0-9_][A-Za-z0-9_-]{0,62})*\.?"
_H = "[0-9A-Fa-f]{1,4}"
_IPV6 = "|".join(
    (
        f"({_H}:){{7}}{_H}",
        f"({_H}:){{1,7}}:",
        f"({_H}:){{1,6}}:{_H}",
        *(f"({_H}:){{1,{7 - after}}}(:{_H}){{1,{after}}}" for after in range(2, 7)),
        f":((:{_H}){{1,7}}|:)",
    )
)
"""RFC 4291, 2.2, without the forms that hold an IPv4 address."""
_PORT = r"(:(6553[0-5]|655[0-2][0-9]|65[0-4][0-9]{2}|6[0-4][0-9]{3}|[1-5][0-9]{4}|[1-9][0-9]{0,3}))?"
_REST = r"([/?]([A-Za-z0-9._~:/?@!$&'()*+,;=\[\]-]|%[0-9A-Fa-f]{2})*)?"
URL = (
    Match("^https?://", "must begin with https:// or http://"),
    Match("^[a-z]+://[^/?]*@", "must not hold a user name or password; put credentials into the Secret", never=True),
    Match("#", "must not hold a fragment (#...); a server never sees it", never=True),
    Match(r"^https?://[^/:?\[]{254}", "must name a host of at most 253 characters", never=True),
    Match(rf"^https?://({_HOST}|\[({_IPV6})\]){_PORT}{_REST}$", "must be a URL like https://models.example.com/v1"),
)
_WORD = "[a-z0-9]([a-z0-9-]*[a-z0-9])?"
OBJECT_NAME = Match(rf"^{_WORD}(\.{_WORD})*$", "must be an object's name: lower case letters, digits, - and .")
CONTAINER_NAME = Match(rf"^{_WORD}$", "must be a name of lower case letters, digits and -")
_DATA_KEY = "must be the key of a ConfigMap or Secret: letters, digits, - _ and .; not . alone, nor .. in front"
DATA_KEY = (Match("^[A-Za-z0-9._-]+$", _DATA_KEY), Match(r"^(\.$|\.\.)", _DATA_KEY, never=True))
RESOURCE_NAME = Match("^(cpu|memory|ephemeral-storage)$", "must be cpu, memory or ephemeral-storage")
PLAIN = Match(r"^[!-~]([ -~]*[!-~])?$", "must be printable ASCII without blanks at its ends")
SHOWN = Match(
    r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x84\x86-\x9f]",
    "must not hold control characters, which server-side apply does not take",
    never=True,
)
_NOTE = r"[ \t\r\n]|[!-,.-~][ -~]*\r?\n"
CERTIFICATES = Match(
    rf"^({_NOTE})*(-----BEGIN CERTIFICATE-----[A-Za-z0-9+/=\r\n]+-----END CERTIFICATE-----({_NOTE})*)+$",
    "must be PEM encoded certificates and nothing else; caBundleFrom names a ConfigMap or Secret",
)
"""With lines of text between them, as openssl and bundles of authorities have them; and no private key."""
FIELD = Match("^[!-+.-<>-~-]+$", "must be a field's name: printable ASCII without blanks, commas and =")
ENV_NAME = Match(r"^[A-Za-z_][A-Za-z0-9_]*$", "must be a variable's name: letters, digits and _")
_LABEL_KEY = "must be a label's key, as in app.kubernetes.io/name"
LABEL_KEY = (
    Match(rf"^({_WORD}(\.{_WORD})*/)?[A-Za-z0-9]([A-Za-z0-9_.-]{{0,61}}[A-Za-z0-9])?$", _LABEL_KEY),
    Match("^[^/]{254}", _LABEL_KEY, never=True),
)
LABEL_VALUE = Match("^([A-Za-z0-9]([A-Za-z0-9_.-]*[A-Za-z0-9])?)?$", "must be a label's value")
_DOMAIN = "[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?"
_COMPONENT = r"[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*"
IMAGE = Match(
    rf"^({_DOMAIN}(\.{_DOMAIN})*{_PORT}/)?{_COMPONENT}(/{_COMPONENT})*$",
    "must be registry and path without tag, as in registry.example.com/mimic",
)
TAG = Match("^[A-Za-z0-9_][A-Za-z0-9._-]*$", "must be an image's tag")
DIGEST = Match("^sha256:[0-9a-f]{64}$", "must be sha256: and 64 hexadecimal digits")
FIELD_NAME = Match(r"^[!#$%&'*+.^_`|~0-9A-Za-z-]+$", "must be the name of a header field, as in Authorization")
HEADER = (
    FIELD_NAME,
    Match(
        "^(?i:host|connection|content-length|transfer-encoding|te|trailer|upgrade|expect|keep-alive|proxy-connection)$",
        "must not be a header field that frames or routes the request",
        never=True,
    ),
)
TOKEN_FORMAT = (
    PLAIN,
    Match(r"\{token\}", "must contain {token} once, as in Bearer {token}"),
    Match(r"\{token\}.*\{token\}", "must contain {token} once, as in Bearer {token}", never=True),
)
SECRET_FORMAT = (
    PLAIN,
    Match(r"\{secret\}", "must contain {secret} once, as in Api-Key {secret}"),
    Match(r"\{secret\}.*\{secret\}", "must contain {secret} once, as in Api-Key {secret}", never=True),
)
_POINTER = r"/([^~]|~[01])*|[^./][^.]*(\.[^.]+)*"
_SAID = "must be keys joined by dots, as in data.content, or a JSON Pointer, as in /data/content"
_NO_QUERY = Match(r"^(\$[.\[]|#/)", f"{_SAID}; no JSONPath and no fragment", never=True)
PLACES = (PLAIN, Match(rf"^({_POINTER})$", _SAID), _NO_QUERY)
DOCUMENT_PLACES = (PLAIN, Match(rf"^(\.|{_POINTER})$", _SAID), _NO_QUERY)
TOKEN_TYPE = (
    Match(
        r"^(jwt|access_token|id_token|refresh_token|saml1|saml2|[A-Za-z][A-Za-z0-9+.-]*:[!-~]+)$",
        "must be jwt, access_token, id_token, refresh_token, saml1, saml2 or a URI",
    ),
)
AUDIENCE = (
    PLAIN,
    Match(
        r"^(?i:(https?://)?kubernetes(\.default(\.svc(\.[a-z0-9.-]+)?)?)?\.?(:[0-9]+)?/?|k3s)$",
        "must not be the API server's: the token service could then act as the workload",
        never=True,
    ),
)


def web_address(about: str) -> Text:
    """A base URL, or a URL that is called exactly as it is."""
    return Text(about, most=2048, matches=URL)


def object_name(about: str) -> Text:
    """The name of an object in the backend's namespace."""
    return Text(about, matches=(OBJECT_NAME,), most=253)


def is_name(text: str) -> bool:
    """Whether an object can have it; whatever else comes from a pod must not get into a path of the API."""
    return len(text) <= 253 and "\n" not in text and OBJECT_NAME.allows(text)


def backend_reference(text: str, namespace: str) -> tuple[str, str]:
    """Namespace and name of the MimicBackend that a pod's annotation names. Raises ValueError with a remedy."""
    where, separator, name = text.rpartition("/")
    found = (where if separator else namespace, name)
    if not all(is_name(part) for part in found):
        raise ValueError("it holds the name of a MimicBackend, NAME or NAMESPACE/NAME.")
    return found


LABELS: Kind = Text("The label's value.", most=63, least=0, matches=(LABEL_VALUE,))
FOREIGN_ITEM: Kind = Foreign("An object as Kubernetes defines it.", least=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class SecretName:
    name: Annotated[str, object_name("Name of a Secret in the same namespace.")]


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyOf:
    name: Annotated[str, object_name("Name of the object, in the same namespace.")]
    key: Annotated[str, Text("The key in that object.", matches=DATA_KEY)]


@dataclass(frozen=True, slots=True, kw_only=True)
class EnvVar:
    name: Annotated[str, Text("Name of the variable.", matches=(ENV_NAME,))]
    value: Annotated[str, Text("Value of the variable.", most=4096, least=0, matches=(SHOWN,))] = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Requirement:
    """One expression of a label selector (Kubernetes, LabelSelectorRequirement)."""

    key: Annotated[str, Text("A label's key.", most=317, matches=LABEL_KEY)]
    operator: Annotated[
        Literal["In", "NotIn", "Exists", "DoesNotExist"],
        OneOf("How the label is compared with the values.", ("In", "NotIn", "Exists", "DoesNotExist")),
    ]
    values: Annotated[tuple[str, ...], Items("Values for the operators In and NotIn.", LABELS, most=32)] = ()


def _values_fit(requirement: Requirement) -> bool:
    return bool(requirement.values) == (requirement.operator in ("In", "NotIn"))


VALUES_FIT = SectionRule(
    "values",
    "(self.operator in ['In', 'NotIn']) == (has(self.values) && self.values.size() > 0)",
    _values_fit,
    "must have entries for In and NotIn, and none for Exists and DoesNotExist",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelSelector:
    """All conditions must hold; without any it selects everything, as in Kubernetes."""

    match_labels: Annotated[
        Mapping[str, str], Table("Labels that an object must have.", LABELS, most=32, keys=LABEL_KEY)
    ] = field(default_factory=dict)
    match_expressions: Annotated[
        tuple[Requirement, ...],
        Items("Further conditions; all must hold.", Section("A condition.", Requirement, (VALUES_FIT,)), most=32),
    ] = ()

    def __str__(self) -> str:
        parts = [f"{key}={value}" for key, value in self.match_labels.items()]
        parts += [
            f"{each.key} {each.operator}" + (f" ({', '.join(each.values)})" if each.values else "")
            for each in self.match_expressions
        ]
        return " and ".join(parts) or "any label"

    def matches(self, labels: Mapping[str, str]) -> bool:
        """Whether an object with these labels is selected (Kubernetes, labels and selectors)."""
        wanted = all(labels.get(key) == value for key, value in self.match_labels.items())
        return wanted and all(_holds(expression, labels) for expression in self.match_expressions)


NAMESPACE_NAME = "kubernetes.io/metadata.name"
"""The label that every namespace has, with its name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NamespaceSelection:
    """Namespaces by name, by label, or by both: one match is enough."""

    names: Annotated[
        tuple[str, ...],
        Items(
            "Names of namespaces.", Text("Name of a namespace.", most=63, matches=(CONTAINER_NAME,)), 256, unique=True
        ),
    ] = ()
    selector: Annotated[
        LabelSelector | None,
        Section("Labels of namespaces. An empty selector selects all of them.", LabelSelector),
    ] = None

    def admits(self, labels: Mapping[str, str]) -> bool:
        """Whether it selects the namespace with these labels."""
        return labels.get(NAMESPACE_NAME) in self.names or (self.selector is not None and self.selector.matches(labels))

    def __str__(self) -> str:
        parts = [", ".join(self.names)] if self.names else []
        return " and ".join([*parts, *([f"those with {self.selector}"] if self.selector is not None else [])])


def _holds(expression: Requirement, labels: Mapping[str, str]) -> bool:
    match expression.operator:
        case "In":
            return labels.get(expression.key) in expression.values
        case "NotIn":
            return labels.get(expression.key) not in expression.values
        case "Exists":
            return expression.key in labels
        case "DoesNotExist":
            return expression.key not in labels
