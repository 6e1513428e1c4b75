"""The webhook's decision on a pod, in a namespace with given backends that the reconciler has seen."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import jsonpatch

from fakes.manifests import DEFAULTS, Manifest
from mimic_operator.errors import InvalidBackend
from mimic_operator.resource.backend import parse
from mimic_operator.resource.revision import Revision, revision_of
from mimic_operator.resource.selection import candidate
from mimic_operator.webhook.decide import Decision, Namespace, Request, decide
from mimic_operator.webhook.mutate import patch

SHOP = Namespace("shop")


@dataclass(frozen=True, slots=True)
class Admitted:
    decision: Decision
    operations: list[dict[str, Any]]
    pod: Manifest
    """As it goes on."""

    @property
    def reason(self) -> str:
        return self.decision.reason

    @property
    def words(self) -> set[str]:
        """Of the notes."""
        return {each.word for each in self.decision.notes}

    def container(self, name: str = "mimic-proxy") -> Manifest:
        spec = self.pod["spec"]
        return next(each for each in [*spec.get("initContainers", ()), *spec["containers"]] if each["name"] == name)

    def env(self, name: str = "web") -> dict[str, Any]:
        entries = self.container(name).get("env", ())
        return {each["name"]: each.get("value", each.get("valueFrom")) for each in entries}


def reconciled(manifest: Manifest) -> tuple[Manifest, list[Revision]]:
    """The backend with a current revision in its status, unless it has a status already or is invalid."""
    try:
        revision = revision_of(parse(manifest), DEFAULTS)
    except InvalidBackend:
        return manifest, []
    if "status" in manifest:
        return manifest, [revision]
    return {**manifest, "status": {"currentRevision": revision.name}}, [revision]


class Cluster:
    """Backends that the reconciler has seen. revisions: that are there besides the backends' own."""

    def __init__(self, *backends: Manifest, revisions: Sequence[Revision] = ()) -> None:
        found = [reconciled(each) for each in backends]
        made = [*(each for _, own in found for each in own), *revisions]
        self._revisions = {(each.namespace, each.name): each for each in made}
        self._candidates = [candidate(manifest) for manifest, _ in found]

    def admit(self, pod: Manifest, request: Request) -> Admitted:
        """What comes of a pod."""
        before = json.dumps(pod)
        decision = decide(
            pod, request, self._candidates, lambda namespace, name: self._revisions.get((namespace, name))
        )
        operations = patch(pod, decision)
        assert json.dumps(pod) == before, "deciding has changed the pod"
        # A copy by way of its text: ten thousand pods are judged, and `deepcopy` takes five times as long.
        return Admitted(decision, operations, jsonpatch.apply_patch(json.loads(before), operations, in_place=True))


def admit(
    pod: Manifest, *backends: Manifest, request: Request | None = None, revisions: Sequence[Revision] = ()
) -> Admitted:
    """What comes of a pod in a cluster with these backends."""
    return Cluster(*backends, revisions=revisions).admit(pod, request or Request(namespace=SHOP))
