"""The spec of a ClusterMimicBackend: one definition of a backend for many namespaces."""

from dataclasses import dataclass
from typing import Annotated

from mimic_operator.resource.fields import Rule, Section, SectionRule
from mimic_operator.resource.spec import Spec
from mimic_operator.resource.spec.common import NamespaceSelection, object_name

ANY_SELECTION = SectionRule(
    "names",
    "self.names.size() > 0 || has(self.selector)",
    lambda selection: bool(selection.names) or selection.selector is not None,
    "or selector is required; an empty selector selects all namespaces",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterSpec:
    namespaces: Annotated[
        NamespaceSelection, Section("The namespaces that may use the backend.", NamespaceSelection, (ANY_SELECTION,))
    ]
    backend: Annotated[
        Spec,
        Section(
            "The spec of the MimicBackend that each of these namespaces gets. The names in it, such as that of a "
            "Secret, are of objects in that namespace.",
            Spec,
        ),
    ]
    deployment_namespace: Annotated[
        str | None,
        object_name(
            "The namespace of the shared Deployment and its Secret; only in mode Deployment. Pods of the other "
            "namespaces call it, and the credential stays where it is."
        ),
    ] = None


RULES = (
    Rule(
        (),
        ("deployment_namespace",),
        "has(self.deploymentNamespace) == (self.backend.mode == 'Deployment')",
        lambda spec: (spec.deployment_namespace is not None) == (spec.backend.mode == "Deployment"),
        "is required if backend.mode is Deployment, and forbidden otherwise",
    ),
    Rule(
        ("backend",),
        ("deployment", "allowed_namespaces", "from_"),
        "!has(self.deployment) || self.deployment.allowedNamespaces.from == 'Same'",
        lambda spec: spec.deployment is None or spec.deployment.allowed_namespaces.from_ == "Same",
        "must not be set: spec.namespaces selects the namespaces",
    ),
)
