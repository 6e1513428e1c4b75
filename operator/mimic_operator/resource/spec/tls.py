"""`spec.tls`."""

from dataclasses import dataclass
from typing import Annotated

from mimic_operator.resource.shape import Flag, Section
from mimic_operator.resource.spec.references import KeyOf, SecretName


@dataclass(frozen=True, slots=True, kw_only=True)
class CaBundle:
    config_map_ref: Annotated[KeyOf | None, Section("A ConfigMap's key that holds PEM certificates.", KeyOf)] = None
    secret_ref: Annotated[KeyOf | None, Section("A Secret's key that holds PEM certificates.", KeyOf)] = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Tls:
    verify: Annotated[bool, Flag("Check the certificates of backend and token service.")] = True
    insecure: Annotated[bool, Flag("Allow http:// URLs: tokens and prompts cross the network in the clear.")] = False
    ca_bundle: Annotated[CaBundle | None, Section("Authorities to trust instead of the public ones.", CaBundle)] = None
    client_cert_secret_ref: Annotated[
        SecretName | None,
        Section("A Secret of type kubernetes.io/tls: Mimic's certificate towards the backend.", SecretName),
    ] = None
