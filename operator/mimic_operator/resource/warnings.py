"""What a valid backend should be warned of: for admission warnings, the condition Insecure, and `render --explain`."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from mimic_operator.resource.backend import Backend
from mimic_operator.resource.fields import key_of
from mimic_operator.resource.spec import Injection, Rollout

Word = Literal[
    "NotVerified",
    "PlainHttp",
    "Open",
    "RefreshTokenShared",
    "NoTokenStore",
    "DebugLogs",
    "NoEffect",
    "Suspended",
    "WholeNamespace",
]
WORDS: dict[Word, str] = {
    "NotVerified": "`tls.verify: false`",
    "PlainHttp": "http:// URLs",
    "Open": "a Deployment that anybody may use",
    "RefreshTokenShared": "several pods with one refresh token",
    "NoTokenStore": "rotated refresh tokens that no volume keeps",
    "DebugLogs": "`proxy.logLevel: DEBUG`",
    "NoEffect": "fields that the mode has no use for",
    "Suspended": "`suspend: true`",
    "WholeNamespace": "a selector without conditions",
}
INSECURE: tuple[Word, ...] = ("NotVerified", "PlainHttp", "Open")
"""Of them, those that the condition Insecure tells."""


@dataclass(frozen=True, slots=True)
class Caution:
    """word: a reason, as conditions and Events name it."""

    word: Word
    path: str
    sentence: str


def cautions(backend: Backend) -> tuple[Caution, ...]:
    """In a fixed order; empty for most."""
    return tuple(_found(backend))


def _found(backend: Backend) -> Iterator[Caution]:
    yield from _of_the_way(backend)
    yield from _of_the_credential(backend)
    if backend.proxy.log_level == "DEBUG":
        yield Caution("DebugLogs", "spec.proxy.logLevel", "DEBUG writes several lines for each call")
    for path, reason in _unused(backend):
        yield Caution("NoEffect", path, f"has no effect {reason}")
    workloads = backend.injection.workloads
    if workloads is not None and not (workloads.selector.match_labels or workloads.selector.match_expressions):
        yield Caution(
            "WholeNamespace",
            "spec.injection.workloads.selector",
            "an empty selector selects every workload of the namespace; name labels to select some",
        )
    if backend.suspend:
        yield Caution("Suspended", "spec.suspend", "nothing of this reaches a pod until it is false")


def _of_the_way(backend: Backend) -> Iterator[Caution]:
    tls, envelope = backend.tls, backend.dialect.envelope
    if not tls.verify:
        yield Caution(
            "NotVerified",
            "spec.tls.verify",
            "the certificates of backend and token service are not checked; caBundle names an authority to trust",
        )
    urls = [backend.chat.url, backend.embedding.url, backend.auth.token_url or ""]
    urls += [envelope.models.url or ""] if envelope else []
    if tls.insecure and any(url.startswith("http://") for url in urls):
        yield Caution("PlainHttp", "spec.tls.insecure", "tokens and prompts cross the network in the clear")
    if backend.spec.deployment is not None and backend.deployment.open and backend.deployment.client_auth is None:
        guarded = backend.deployment.network_policy.enabled
        if not guarded:
            yield Caution("Open", "spec.deployment.open", "whoever reaches the Service uses the credential")


def _of_the_credential(backend: Backend) -> Iterator[Caution]:
    auth = backend.auth
    if auth.grant == "RefreshToken" and not auth.single_use and not _alone(backend):
        yield Caution(
            "RefreshTokenShared",
            "spec.auth.singleUse",
            "several pods share one refresh token; if the token service rotates them, set singleUse and use mode "
            "Deployment with one replica",
        )
    if auth.single_use and auth.grant == "RefreshToken" and auth.token_store is None:
        yield Caution(
            "NoTokenStore",
            "spec.auth.tokenStore",
            "a rotated refresh token is lost together with its pod; name a PersistentVolumeClaim",
        )


def _unused(backend: Backend) -> Iterator[tuple[str, str]]:
    """Fields that were set to something, and that nobody reads."""
    injection, usual = backend.injection, Injection()
    if injection.env.mode == "None" and injection.env.extra:
        yield "spec.injection.env.extra", "while env.mode is None"
    if backend.mode == "Sidecar":
        return
    for name in ("port", "admin_port", "native", "readiness"):
        if getattr(injection, name) != getattr(usual, name):
            yield f"spec.injection.{key_of(name)}", "in mode Deployment"
    if backend.rollout != Rollout():
        yield "spec.rollout", "in mode Deployment"


def _alone(backend: Backend) -> bool:
    return backend.mode == "Deployment" and backend.deployment.replicas == 1
