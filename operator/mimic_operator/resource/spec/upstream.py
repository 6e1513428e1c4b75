"""`spec.chat`, `embedding`, `models`, `timeouts`, `callLimits`, `tls`: the calls to the backend, and their limits."""

from dataclasses import dataclass
from typing import Annotated, ClassVar

from mimic_operator.resource.fields import Duration, Flag, Items, Renamed, Rule, Section, Text, Whole
from mimic_operator.resource.spec.common import CERTIFICATES, PLAIN, KeyOf, SecretName, web_address

GIB = 2**30


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    url: Annotated[
        str,
        web_address(
            "Base URL. It must begin with https:// unless `tls.insecure` is true. On the Envelope dialect Mimic calls "
            "this URL exactly as it is."
        ),
    ]


@dataclass(frozen=True, slots=True, kw_only=True)
class Models:
    static: Annotated[
        tuple[str, ...],
        Items(
            "Ids of the models to list. If the list is empty, Mimic requests them from the backend.",
            Text("A model id.", matches=(PLAIN,)),
            most=256,
            unique=True,
        ),
    ] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeouts:
    """`0s` disables a timeout; one that is left out has the proxy's default."""

    connect: Annotated[float | None, Duration("Time for DNS, TCP and TLS. The default is 5s; 0s disables it.")] = None
    first_byte: Annotated[
        float | None,
        Duration("Time from the request to the first byte of the response. The default is 10m; 0s disables it."),
    ] = None
    idle: Annotated[
        float | None, Duration("Time between two reads of a response. The default is 5m; 0s disables it.")
    ] = None
    total: Annotated[float | None, Duration("Time for the whole call. The default is 15m; 0s disables it.")] = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CallLimits:
    max_concurrency: Annotated[
        int | None,
        Whole(
            "Calls that each proxy has at the backend at the same time. The default is 512; 0 is unlimited.",
            0,
            1_000_000,
        ),
    ] = None
    max_queue: Annotated[
        int | None,
        Whole("Calls that wait in each proxy for one of those. The default is 1024; 0 is no queue.", 0, 1_000_000),
    ] = None
    max_body_bytes: Annotated[
        int | None, Whole("Size of the largest request body. The default is 33554432 (32 MiB).", 1, 4 * GIB)
    ] = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CaBundleFrom:
    config_map_key_ref: Annotated[
        KeyOf | None, Section("A key of a ConfigMap with PEM encoded certificates.", KeyOf)
    ] = None
    secret_key_ref: Annotated[KeyOf | None, Section("A key of a Secret with PEM encoded certificates.", KeyOf)] = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Tls:
    RENAMED: ClassVar = {
        "verify": Renamed("insecureSkipVerify, which is true where verify was false", {"type": "boolean"})
    }

    insecure_skip_verify: Annotated[
        bool, Flag("Do not verify the certificates of the backend and the token service. Never use it in production.")
    ] = False
    insecure: Annotated[bool, Flag("Allow http:// URLs. Tokens and prompts then cross the network unencrypted.")] = (
        False
    )
    ca_bundle: Annotated[
        str | None,
        Text(
            "PEM encoded certificates of the authorities to trust instead of the public ones.",
            most=65_536,
            pattern=CERTIFICATES,
        ),
    ] = None
    ca_bundle_from: Annotated[
        CaBundleFrom | None, Section("The same from a ConfigMap or a Secret in the same namespace.", CaBundleFrom)
    ] = None
    client_cert_secret_ref: Annotated[
        SecretName | None,
        Section(
            "A Secret of type kubernetes.io/tls with the certificate that Mimic presents to the backend.", SecretName
        ),
    ] = None


def _one_source(bundle: CaBundleFrom) -> bool:
    return (bundle.config_map_key_ref is None) != (bundle.secret_key_ref is None)


RULES = (
    Rule(
        ("tls", "ca_bundle_from"),
        (),
        "has(self.configMapKeyRef) != has(self.secretKeyRef)",
        _one_source,
        "must have exactly one of configMapKeyRef and secretKeyRef",
    ),
    Rule(
        ("tls",),
        ("ca_bundle_from",),
        "!has(self.caBundle) || !has(self.caBundleFrom)",
        lambda tls: tls.ca_bundle is None or tls.ca_bundle_from is None,
        "must not be set together with caBundle",
    ),
)
