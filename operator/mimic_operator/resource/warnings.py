"""What to warn about in a valid backend: for admission warnings, the condition Insecure, and `render --explain`."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from mimic_operator.resource.backend import Backend
from mimic_operator.resource.fields import declared, key_of
from mimic_operator.resource.mounts import used_names
from mimic_operator.resource.spec import Injection, Rollout
from mimic_operator.resource.spec.auth import SecretKeys

Reason = Literal[
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
REASONS: dict[Reason, str] = {
    "NotVerified": "`tls.insecureSkipVerify: true`",
    "PlainHttp": "http:// URLs",
    "Open": "a Deployment that every caller may use",
    "RefreshTokenShared": "several pods that share a refresh token",
    "NoTokenStore": "rotated refresh tokens that no volume keeps",
    "DebugLogs": "`proxy.logLevel: DEBUG`",
    "NoEffect": "fields that have no effect",
    "Suspended": "`suspend: true`",
    "WholeNamespace": "a selector without conditions",
}
INSECURE: tuple[Reason, ...] = ("NotVerified", "PlainHttp", "Open")
"""Those that the condition Insecure reports."""


@dataclass(frozen=True, slots=True)
class SpecWarning:
    """reason: one word, as conditions and Events name it."""

    reason: Reason
    path: str
    sentence: str


def warnings_of(backend: Backend) -> tuple[SpecWarning, ...]:
    """The warnings in a fixed order; most backends have none."""
    return tuple(_found(backend))


def _found(backend: Backend) -> Iterator[SpecWarning]:
    yield from _of_connections(backend)
    yield from _of_the_credential(backend)
    if backend.proxy.log_level == "DEBUG":
        yield SpecWarning("DebugLogs", "spec.proxy.logLevel", "DEBUG writes several lines for each call")
    for path, condition in _unused(backend):
        yield SpecWarning("NoEffect", path, f"has no effect {condition}")
    workloads = backend.injection.workloads
    if workloads is not None and not (workloads.selector.match_labels or workloads.selector.match_expressions):
        yield SpecWarning(
            "WholeNamespace",
            "spec.injection.workloads.selector",
            "an empty selector selects every workload of the namespace; name labels to select some",
        )
    if backend.suspend:
        yield SpecWarning("Suspended", "spec.suspend", "no change of this resource reaches a pod until it is false")


def _of_connections(backend: Backend) -> Iterator[SpecWarning]:
    tls, envelope = backend.tls, backend.dialect.envelope
    if tls.insecure_skip_verify:
        yield SpecWarning(
            "NotVerified",
            "spec.tls.insecureSkipVerify",
            "the certificates of the backend and the token service are not verified; caBundle can name an authority",
        )
    urls = [backend.chat.url, backend.embedding.url, backend.auth.token_url or ""]
    urls += [envelope.models.url or ""] if envelope else []
    if tls.insecure and any(url.startswith("http://") for url in urls):
        yield SpecWarning("PlainHttp", "spec.tls.insecure", "tokens and prompts cross the network unencrypted")
    shared = backend.deployment
    if shared.access == "Open" and shared.client_auth is None and not shared.network_policy.enabled:
        yield SpecWarning("Open", "spec.deployment.access", "every caller that reaches the Service uses the credential")


def _of_the_credential(backend: Backend) -> Iterator[SpecWarning]:
    auth = backend.auth
    if auth.grant == "RefreshToken" and not auth.single_use and not _alone(backend):
        yield SpecWarning(
            "RefreshTokenShared",
            "spec.auth.singleUse",
            "several pods share one refresh token; if the token service rotates them, set singleUse and use mode "
            "Deployment with one replica",
        )
    if auth.single_use and auth.grant == "RefreshToken" and auth.token_store is None:
        yield SpecWarning(
            "NoTokenStore",
            "spec.auth.tokenStore",
            "a rotated refresh token is lost when its pod is replaced; name a PersistentVolumeClaim",
        )


def _unused(backend: Backend) -> Iterator[tuple[str, str]]:
    """Fields that are set and have no effect, with the condition under which they have none."""
    injection, usual, auth = backend.injection, Injection(), backend.auth
    if injection.env.mode == "None" and injection.env.extra:
        yield "spec.injection.env.extra", "while env.mode is None"
    if auth.secret_ref is not None:
        used = used_names(auth)
        for entry, _ in declared(SecretKeys):
            if getattr(auth.secret_ref.keys, entry.name) is not None and entry.name.upper() not in used:
                yield f"spec.auth.secretRef.keys.{key_of(entry.name)}", f"with grant {auth.grant} as it is configured"
    if backend.mode == "Sidecar":
        return
    for name in ("port", "admin_port", "native", "readiness"):
        if getattr(injection, name) != getattr(usual, name):
            yield f"spec.injection.{key_of(name)}", "in mode Deployment"
    if backend.rollout != Rollout():
        yield "spec.rollout", "in mode Deployment"


def _alone(backend: Backend) -> bool:
    return backend.mode == "Deployment" and backend.deployment.replicas == 1
