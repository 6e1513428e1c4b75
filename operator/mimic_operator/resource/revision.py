"""A revision: all that injection needs of a backend, fixed until something in it changes that only a restart brings.

What the proxy reads anew while it runs (its configuration file, the content of mounted objects) is no part of the hash.
"""

import json
from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass, field, replace
from typing import Any

from mimic_operator.errors import InvalidBackend, OperatorError, Problem
from mimic_operator.resource.backend import Backend
from mimic_operator.resource.config import Config, config_of, config_yaml
from mimic_operator.resource.container import (
    Container,
    ProxyDefaults,
    Volume,
    container_of,
    ports_of,
    resources_of,
    volumes_of,
)
from mimic_operator.resource.fields import UNKNOWN, read_fields, write_fields
from mimic_operator.resource.naming import child_name, short_hash
from mimic_operator.resource.spec import Injection, Mode, Spec

FORMAT = 3
"""Of `to_data`; an operator reads its own and older ones. Format 1 had no `spec`, format 2 earlier names in it."""
DRAIN_SECONDS = 25.0
"""The default of proxy.drainTimeout."""
HASHED_FORMAT = 1
"""Stands in what is hashed: another number there would rename every revision, and restart every workload."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Revision:
    """What pods get. In Deployment mode callers get the environment alone, and the Deployment the container."""

    name: str
    """`mimic-NAME-HASH`: of the ControllerRevision and, in Sidecar mode, of the ConfigMap; the annotation's value."""
    hash: str
    """Of everything here but the configuration."""
    namespace: str
    backend: str
    mode: Mode
    container: Container
    volumes: tuple[Volume, ...]
    config_map: str
    port: int
    admin_port: int
    url: str
    """Base URL for applications, `.../v1`; in Sidecar mode on the revision's own port."""
    injection: Injection
    """How it is injected. Whom it is for is no part of a revision: `workloads`, `default` and `overrides` are unset."""
    image_pull_secrets: tuple[str, ...] = ()
    scrape: bool = True
    """Whether pods are annotated for Prometheus."""
    drain_seconds: float = DRAIN_SECONDS
    """What the configuration says; a pod with a shorter grace period gets less."""
    config: Config = field(default_factory=dict)
    """The configuration file's content. No part of `fixed_part`, since it changes while a revision lives."""

    @property
    def config_text(self) -> str:
        """The configuration file."""
        return config_yaml(self.config)

    @property
    def config_hash(self) -> str:
        return short_hash(self.config_text)

    def url_at(self, port: int) -> str:
        """Base URL for applications beside a sidecar that had to take another port."""
        return sidecar_url(port) if self.mode == "Sidecar" else self.url


def revision_of(backend: Backend, defaults: ProxyDefaults) -> Revision:
    """The revision that a backend asks for now. What equals another in all but its configuration has the same name."""
    port, admin_port = ports_of(backend)
    unnamed = Revision(
        name="",
        hash="",
        namespace=backend.namespace,
        backend=backend.name,
        mode=backend.mode,
        container=container_of(backend, defaults),
        volumes=tuple(volumes_of(backend, "")),
        config_map="",
        port=port,
        admin_port=admin_port,
        url=sidecar_url(port) if backend.mode == "Sidecar" else service_url(backend),
        injection=replace(backend.injection, workloads=None, default=False, overrides=None),
        image_pull_secrets=tuple(secret.name for secret in backend.proxy.image_pull_secrets),
        scrape=backend.proxy.telemetry.metrics,
        drain_seconds=backend.proxy.drain_timeout,
        config=config_of(backend, memory_limit=resources_of(backend, defaults)["limits"]["memory"]),
    )
    digest = short_hash(json.dumps({"format": HASHED_FORMAT, **fixed_part(unnamed)}, sort_keys=True))
    name = child_name(backend.name, digest)
    config_map = name if backend.mode == "Sidecar" else child_name(backend.name)
    volumes = tuple(volumes_of(backend, config_map))
    return replace(unnamed, name=name, hash=digest, config_map=config_map, volumes=volumes)


def sidecar_url(port: int) -> str:
    """Base URL of a proxy in the same pod. The address and not a name: no lookup, no proxy variable's surprise."""
    return f"http://127.0.0.1:{port}/v1"


def service_url(backend: Backend) -> str:
    """Base URL of a shared proxy, from any namespace."""
    port = backend.deployment.service.port
    return f"http://{child_name(backend.name)}.{backend.namespace}.svc{'' if port == 80 else f':{port}'}/v1"


def to_data(revision: Revision, spec: Spec) -> dict[str, Any]:
    """As the `data` of a ControllerRevision, which can never be changed: JSON. spec: of which it was made first."""
    return {"format": FORMAT, **fixed_part(revision), "spec": write_fields(spec)}


def fixed_part(revision: Revision) -> dict[str, Any]:
    """All of it but the configuration, as JSON."""
    return {
        "name": revision.name,
        "hash": revision.hash,
        "namespace": revision.namespace,
        "backend": revision.backend,
        "mode": revision.mode,
        "container": revision.container,
        "volumes": list(revision.volumes),
        "configMap": revision.config_map,
        "port": revision.port,
        "adminPort": revision.admin_port,
        "url": revision.url,
        "injection": write_fields(revision.injection),
        "imagePullSecrets": list(revision.image_pull_secrets),
        "scrape": revision.scrape,
        # Left out where it is the default, so that revisions from before keep their names.
        **({"drainSeconds": revision.drain_seconds} if revision.drain_seconds != DRAIN_SECONDS else {}),
    }


def from_data(data: Mapping[str, Any]) -> Revision:
    """The revision that `to_data` wrote; its configuration is empty. Fields of a newer operator are passed over.

    Raises KeyError or InvalidBackend if this operator cannot read it.
    """
    problems: list[Problem] = []
    injection = read_fields(Injection, data["injection"], "injection", problems)
    if problems := [problem for problem in problems if problem.sentence != UNKNOWN]:
        raise InvalidBackend(problems)
    return Revision(
        name=data["name"],
        hash=data["hash"],
        namespace=data["namespace"],
        backend=data["backend"],
        mode=data["mode"],
        container=data["container"],
        volumes=tuple(data["volumes"]),
        config_map=data["configMap"],
        port=data["port"],
        admin_port=data["adminPort"],
        url=data["url"],
        injection=injection,
        image_pull_secrets=tuple(data["imagePullSecrets"]),
        scrape=data["scrape"],
        drain_seconds=data.get("drainSeconds", DRAIN_SECONDS),
    )


def spec_in(data: Mapping[str, Any]) -> Spec | None:
    """The spec that the revision was made of; None in format 1, or where a newer operator's cannot be read."""
    problems: list[Problem] = []
    given = data.get("spec")
    if not isinstance(given, Mapping):
        return None
    if data.get("format") == 2:
        given = _renamed(given)
    spec: Spec = read_fields(Spec, given, "spec", problems)
    return None if any(problem.sentence != UNKNOWN for problem in problems) else spec


def _renamed(spec: Mapping[str, Any]) -> dict[str, Any]:
    """A sidecar's spec of format 2 with the names of today."""
    found = deepcopy(dict(spec))
    found["callLimits"] = found.pop("limits", {})
    tls, telemetry = found.get("tls", {}), found.get("proxy", {}).get("telemetry", {})
    tls["insecureSkipVerify"] = not tls.pop("verify", True)
    if (bundle := tls.pop("caBundle", None)) is not None:
        tls["caBundleFrom"] = {key.replace("Ref", "KeyRef"): source for key, source in bundle.items()}
    if (ratio := telemetry.get("traceSampleRatio")) is not None:
        telemetry["traceSampleRatio"] = f"{ratio:.9f}".rstrip("0").rstrip(".")
    return {**found, "tls": tls}


@dataclass(frozen=True, slots=True)
class StoredRevision:
    """A revision as its ControllerRevision holds it, without configuration."""

    revision: Revision
    spec: Spec | None
    """Of which it was made; None where an operator before format 2 made it."""
    defaults: ProxyDefaults


def stored_in(data: Mapping[str, Any], defaults: ProxyDefaults) -> StoredRevision | None:
    """What `to_data` wrote; None where a newer operator wrote it and this one cannot read it."""
    try:
        return StoredRevision(from_data(data), spec_in(data), defaults)
    except (KeyError, TypeError, OperatorError):
        return None


def config_for(stored: StoredRevision, backend: Backend) -> Config | None:
    """The backend's configuration for pods of the revision; None: they keep theirs until they restart.

    It is taken over whole or not at all: a mixture of two could be one that no one has ever written, with the
    credential of one token service sent to another. It fits where it relies on nothing that the pods do not have.
    """
    made = revision_of(backend, stored.defaults)
    return made.config if _relied_on(made) == _relied_on(stored.revision) else None


def needs_restart(stored: StoredRevision, backend: Backend) -> bool | None:
    """Whether the spec asks for another container than the one that the revision was made of; None: unknown.

    Both are compared as this operator makes them, whichever made the revision.
    """
    if stored.spec is None:
        return None
    before = revision_of(replace(backend, spec=stored.spec), stored.defaults)
    return before.hash != revision_of(backend, stored.defaults).hash


def _relied_on(revision: Revision) -> tuple[object, ...]:
    """All of a pod that a configuration names or counts on; the ConfigMap's volume has the revision's name in it."""
    container = revision.container
    secrets = [entry for entry in container["env"] if "secretKeyRef" in entry.get("valueFrom", {})]
    volumes = [volume for volume in revision.volumes if volume["name"] != "mimic-config"]
    memory = container["resources"]["limits"].get("memory")
    return revision.mode, container["volumeMounts"], volumes, secrets, memory
