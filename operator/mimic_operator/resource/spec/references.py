"""What several sections of a MimicBackend are built of: names of objects, variables, URLs."""

from dataclasses import dataclass
from typing import Annotated

from mimic_operator.resource.patterns import DATA_KEY, ENV_NAME, LABEL_VALUE, OBJECT_NAME, SHOWN, URL
from mimic_operator.resource.shape import Foreign, Kind, Text


def web_address(about: str) -> Text:
    """A base URL, or one that is called as it is."""
    return Text(about, most=2048, matches=URL)


def object_name(about: str) -> Text:
    """The name of an object in the backend's namespace."""
    return Text(about, matches=(OBJECT_NAME,), most=253)


LABELS: Kind = Text("The label's value.", most=63, least=0, matches=(LABEL_VALUE,))
FOREIGN_ITEM: Kind = Foreign("As in Kubernetes.", least=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class SecretName:
    name: Annotated[str, object_name("Name of a Secret in the same namespace.")]


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyOf:
    name: Annotated[str, object_name("Name of the object, in the same namespace.")]
    key: Annotated[str, Text("The key in it.", matches=DATA_KEY)]


@dataclass(frozen=True, slots=True, kw_only=True)
class EnvVar:
    name: Annotated[str, Text("The variable.", matches=(ENV_NAME,))]
    value: Annotated[str, Text("Its value.", most=4096, least=0, matches=(SHOWN,))] = ""
