"""What of a newer spec reaches the pods of an older revision without a restart. Pure.

Such a pod keeps its container, mounts and variables; its configuration file can change under it. The configuration is
taken over whole or not at all: a mixture of two could be one that nobody has ever written, with the token of one
service for the backend of another.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from mimic_operator.errors import OperatorError
from mimic_operator.resource.backend import Backend
from mimic_operator.resource.config_recipes import Config
from mimic_operator.resource.container import ProxyDefaults
from mimic_operator.resource.revision import Revision, from_data, revision_of, spec_in
from mimic_operator.resource.rules import broken
from mimic_operator.resource.spec import Auth, Spec


@dataclass(frozen=True, slots=True)
class Kept:
    """A revision as its ControllerRevision keeps it, without configuration."""

    revision: Revision
    spec: Spec | None
    """Of which it was made; None where an operator before format 2 made it."""
    defaults: ProxyDefaults


def kept_in(data: Mapping[str, Any], defaults: ProxyDefaults) -> Kept | None:
    """What `to_data` wrote; None where a newer operator wrote it and this one cannot read it."""
    try:
        return Kept(from_data(data), spec_in(data), defaults)
    except (KeyError, TypeError, OperatorError):
        return None


def merged(new: Spec, old: Spec) -> Spec:
    """The new spec, with what only a restart brings as the old one has it.

    auth and tls go with the new configuration although they name what is mounted: whether that is there is judged
    afterwards, by `config_for`.
    """
    proxy = replace(old.proxy, log_level=new.proxy.log_level, log_format=new.proxy.log_format)
    auth = old.auth if _same_but_for_the_secret(new.auth, old.auth) else new.auth
    return replace(new, mode=old.mode, deployment=old.deployment, injection=old.injection, proxy=proxy, auth=auth)


def config_for(kept: Kept, backend: Backend) -> Config | None:
    """The backend's configuration as pods of the revision can have it; None: they keep the one that they have."""
    if kept.spec is None:
        return None
    spec = merged(backend.spec, kept.spec)
    if any(True for _ in broken(spec, ())):
        return None
    made = revision_of(replace(backend, spec=spec), kept.defaults)
    return made.config if _mounted(made) == _mounted(kept.revision) else None


def first_config(kept: Kept, backend: Backend) -> Config | None:
    """The configuration that the revision was made with."""
    if kept.spec is None:
        return None
    return revision_of(replace(backend, spec=kept.spec), kept.defaults).config


def needs_restart(kept: Kept, backend: Backend) -> bool | None:
    """Whether the spec asks for another container than the one that the revision was made of; None: unknown.

    Both are seen as this operator makes them, whichever made the revision.
    """
    if kept.spec is None:
        return None
    before = revision_of(replace(backend, spec=kept.spec), kept.defaults)
    return before.hash != revision_of(backend, kept.defaults).hash


def _same_but_for_the_secret(new: Auth, old: Auth) -> bool:
    """Another Secret for the same client at the same token service: the old one goes where it went before."""
    return None not in (new.secret_ref, old.secret_ref) and replace(new, secret_ref=old.secret_ref) == old


def _mounted(revision: Revision) -> tuple[object, ...]:
    """All that a configuration may name or rely on. The ConfigMap's own volume has the revision's name in it."""
    secrets = [entry for entry in revision.container["env"] if "secretKeyRef" in entry.get("valueFrom", {})]
    volumes = [volume for volume in revision.volumes if volume["name"] != "mimic-config"]
    return revision.mode, revision.container["volumeMounts"], volumes, secrets
