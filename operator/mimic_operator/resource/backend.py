"""A MimicBackend as the operator uses it: read and validated once, with its defaults filled in."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mimic_operator.errors import InvalidBackend, Problem
from mimic_operator.resource.fields import UNKNOWN, read_fields
from mimic_operator.resource.naming import API_VERSION, KIND
from mimic_operator.resource.rules import broken
from mimic_operator.resource.spec import (
    Auth,
    CallLimits,
    Deployment,
    Dialect,
    Endpoint,
    Injection,
    Mode,
    Models,
    Proxy,
    Rollout,
    Spec,
    Timeouts,
    Tls,
)
from mimic_operator.resource.spec.common import object_name


@dataclass(frozen=True, slots=True, kw_only=True)
class Backend:
    """One MimicBackend: its identity and its spec."""

    namespace: str
    name: str
    uid: str
    """Empty where there is no cluster, as in `render`."""
    generation: int
    created: str
    """creationTimestamp (RFC 3339, UTC), so that text order is age order; empty where there is no cluster."""
    spec: Spec

    @property
    def mode(self) -> Mode:
        return self.spec.mode

    @property
    def suspend(self) -> bool:
        return self.spec.suspend

    @property
    def dialect(self) -> Dialect:
        return self.spec.dialect

    @property
    def chat(self) -> Endpoint:
        return self.spec.chat

    @property
    def embedding(self) -> Endpoint:
        """The embedding API, which defaults to the URL of the chat API."""
        return self.spec.embedding or self.spec.chat

    @property
    def models(self) -> Models:
        return self.spec.models

    @property
    def auth(self) -> Auth:
        return self.spec.auth

    @property
    def tls(self) -> Tls:
        return self.spec.tls

    @property
    def timeouts(self) -> Timeouts:
        return self.spec.timeouts

    @property
    def call_limits(self) -> CallLimits:
        return self.spec.call_limits

    @property
    def injection(self) -> Injection:
        return self.spec.injection

    @property
    def rollout(self) -> Rollout:
        return self.spec.rollout

    @property
    def deployment(self) -> Deployment:
        """Its settings in Deployment mode; all defaults in Sidecar mode."""
        return self.spec.deployment or Deployment()

    @property
    def proxy(self) -> Proxy:
        return self.spec.proxy


TOP = ("apiVersion", "kind", "metadata", "spec", "status")


def parse(manifest: Mapping[str, Any], *, strict: bool = False) -> Backend:
    """Read one resource, as the API server gives it or as a file holds it.

    strict: refuse fields that this version does not know. Without it they are passed over: the schema may be newer
    than this operator, and the API server has pruned what it does not know itself.
    Raises InvalidBackend with all problems.
    """
    problems: list[Problem] = []
    if manifest.get("apiVersion") != API_VERSION or manifest.get("kind") != KIND:
        problems.append(Problem("kind", f"must be {KIND}, with apiVersion {API_VERSION}"))
    metadata = manifest.get("metadata")
    metadata = metadata if isinstance(metadata, Mapping) else {}
    name = object_name("").read(metadata.get("name") or "", "metadata.name", problems)
    namespace = object_name("").read(metadata.get("namespace") or "default", "metadata.namespace", problems)
    problems.extend(Problem(str(key), UNKNOWN) for key in manifest if key not in TOP)
    given = manifest.get("spec")
    if not isinstance(given, Mapping):
        raise InvalidBackend([*problems, Problem("spec", "is required")])
    spec: Spec = read_fields(Spec, given, "spec", problems)
    if not strict:
        problems = [problem for problem in problems if problem.sentence != UNKNOWN]
    problems.extend(broken(spec, problems))
    if problems:
        raise InvalidBackend(problems)
    return Backend(
        namespace=namespace,
        name=name,
        uid=str(metadata.get("uid") or ""),
        generation=generation if isinstance(generation := metadata.get("generation"), int) else 0,
        created=str(metadata.get("creationTimestamp") or ""),
        spec=spec,
    )
