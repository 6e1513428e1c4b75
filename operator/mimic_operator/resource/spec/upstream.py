"""`spec.chat`, `embedding`, `models`, `timeouts`, `limits`, `tls`: the calls to the backend, and their limits."""

from dataclasses import dataclass
from typing import Annotated

from mimic_operator.resource.fields import Duration, Flag, Items, Rule, Section, Text, Whole
from mimic_operator.resource.spec.common import PLAIN, KeyOf, SecretName, web_address

GIB = 2**30


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    url: Annotated[
        str,
        web_address(
            "Base URL, https:// unless `tls.insecure` is set; on the Envelope dialect the URL as it is called."
        ),
    ]


@dataclass(frozen=True, slots=True, kw_only=True)
class Models:
    static: Annotated[
        tuple[str, ...],
        Items(
            "Model ids that are offered; empty asks the backend.",
            Text("A model id.", matches=(PLAIN,)),
            most=256,
            unique=True,
        ),
    ] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeouts:
    """`0s` switches one off; one that is left out takes the proxy's default."""

    connect: Annotated[float | None, Duration("Name, TCP and TLS; 5s if left out.")] = None
    first_byte: Annotated[float | None, Duration("From the request to the answer's first byte; 10m if left out.")] = (
        None
    )
    idle: Annotated[float | None, Duration("Between two reads of an answer; 5m if left out.")] = None
    total: Annotated[float | None, Duration("The whole call; 15m if left out.")] = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    max_concurrency: Annotated[
        int | None, Whole("Calls at the backend at once, for each pod; 0 is unlimited, 512 if left out.", 0, 1_000_000)
    ] = None
    max_queue: Annotated[
        int | None, Whole("Calls that wait for one of those; 0 is no queue, 1024 if left out.", 0, 1_000_000)
    ] = None
    max_body_bytes: Annotated[int | None, Whole("Largest request; 33554432 if left out.", 1, 4 * GIB)] = None


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


def _one_source(bundle: CaBundle) -> bool:
    return (bundle.config_map_ref is None) != (bundle.secret_ref is None)


RULES = (
    Rule(
        ("tls", "ca_bundle"),
        (),
        "has(self.configMapRef) != has(self.secretRef)",
        _one_source,
        "must have one of configMapRef and secretRef",
    ),
)
