"""Every name that the operator gives or reads: of groups, labels, annotations, field managers, children.

A label's value has at most 63 characters, and so have the names of what ends up in one (Kubernetes, object names).
"""

import hashlib
import re

GROUP = "mimic.dev"
VERSION = "v1alpha1"
API_VERSION = f"{GROUP}/{VERSION}"
KIND = "MimicBackend"
PLURAL = "mimicbackends"
CLUSTER_KIND = "ClusterMimicBackend"
CLUSTER_PLURAL = "clustermimicbackends"

LABEL_INJECT = f"{GROUP}/inject"
"""On pods, `"true"`: this pod wants the proxy."""
LABEL_INJECTED = f"{GROUP}/injected"
"""On pods, set by the webhook: `sidecar`, `pointed` (at a shared proxy), or `none` where the namespace asks for the
proxy and the pod starts without it. The reconciler watches by it."""
LABEL_MANAGED = f"{GROUP}/managed"
"""On pod templates: the operator set the labels and annotations there, and takes them off again."""
LABEL_COMPONENT = f"{GROUP}/component"
"""On Mimic's own pods and children: `proxy`, `webhook` or `reconciler`."""
LABEL_INJECTION = f"{GROUP}/injection"
"""On namespaces, `enabled`: all pods get the proxy where it can be had."""
LABEL_BACKEND = f"{GROUP}/backend"
"""On children: the backend they belong to, by `label_value`."""

LABEL_CLUSTER_BACKEND = f"{GROUP}/cluster-backend"
"""On MimicBackends: the ClusterMimicBackend that they were created for, by `label_value`."""

ANNOTATION_BACKEND = f"{GROUP}/backend"
"""On pods: the backend they want, NAME or NAMESPACE/NAME."""
ANNOTATION_REVISION = f"{GROUP}/revision"
"""On pod templates and pods: the revision of the sidecar."""
ANNOTATION_WRITTEN = f"{GROUP}/written"
"""On workloads: the revision that was written, how often it was taken off again, and when it was written last."""
ANNOTATION_RETRY_AT = f"{GROUP}/retry-at"
"""On workloads: touched so that their controller tries again."""
ANNOTATION_CLIENT_KEY_SECRET = f"{GROUP}/client-key-secret"
"""On pods: the Secret in their namespace with the key for a shared proxy, NAME or NAME/KEY."""
ANNOTATION_CONFIG_HASH = f"{GROUP}/config-hash"
"""On pods: the configuration at their start; later ones reach them without a restart."""
ANNOTATION_TEMPLATE_HASH = f"{GROUP}/template-hash"
"""On pods and Deployments: hash of the proxy's container and volumes; a change is a restart."""
ANNOTATION_PORT = f"{GROUP}/port"
"""On pods: the API's port, where the usual one was taken or the pod chose another."""
ANNOTATION_ADMIN_PORT = f"{GROUP}/admin-port"
ANNOTATION_CPU_REQUEST = f"{GROUP}/cpu-request"
ANNOTATION_CPU_LIMIT = f"{GROUP}/cpu-limit"
ANNOTATION_MEMORY_REQUEST = f"{GROUP}/memory-request"
ANNOTATION_MEMORY_LIMIT = f"{GROUP}/memory-limit"
ANNOTATION_LOG_LEVEL = f"{GROUP}/log-level"
"""On pods: of their sidecar, as far as `spec.injection.overrides` of the backend allows it."""
ANNOTATION_URL = f"{GROUP}/url"
"""On pods without a sidecar of their own: where the shared proxy is that their containers call."""
ANNOTATION_APPLIED = f"{GROUP}/applied-hash"
"""On children: of the manifest that was applied."""
ANNOTATION_DEFAULTS = f"{GROUP}/proxy-defaults"
"""On ControllerRevisions: what the operator's settings said of proxies, to tell an upgrade from a change."""

MANAGER = "mimic-operator"
MANAGER_WORKLOADS = "mimic-operator-workloads"
MANAGER_STATUS = "mimic-operator-status"

SIDECAR, POINTED, LEFT_OUT = "sidecar", "pointed", "none"
"""Values of LABEL_INJECTED."""

CONTAINER = "mimic-proxy"
LONGEST = 63
HASH_DIGITS = 10


def short_hash(*parts: str) -> str:
    """Ten hexadecimal digits that stand for these texts, the same in every process and version."""
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:HASH_DIGITS]


def label_value(name: str) -> str:
    """The name itself where it fits into a label, else cut, with a hash that keeps it apart from others."""
    return name if len(name) <= LONGEST else _cut(name, name)


def child_name(backend: str, *suffixes: str) -> str:
    """`mimic-NAME[-SUFFIX...]`: a DNS label (RFC 1035) however long the name and whatever dots are in it."""
    wanted = "-".join(("mimic", backend, *suffixes))
    plain = re.sub(r"[^a-z0-9-]", "-", wanted)
    return wanted if plain == wanted and len(wanted) <= LONGEST else _cut(plain, wanted)


def labels_of(backend: str) -> dict[str, str]:
    """The labels of every child of a backend; no two backends of a namespace share them."""
    return {
        "app.kubernetes.io/name": "mimic",
        "app.kubernetes.io/instance": label_value(backend),
        "app.kubernetes.io/component": "proxy",
        "app.kubernetes.io/managed-by": MANAGER,
        LABEL_COMPONENT: "proxy",
        LABEL_BACKEND: label_value(backend),
    }


def selector_of(backend: str) -> dict[str, str]:
    """The labels by which Deployment, Service, budget and policy find the pods; never to be changed."""
    return {LABEL_COMPONENT: "proxy", LABEL_BACKEND: label_value(backend)}


def _cut(plain: str, original: str) -> str:
    return f"{plain[: LONGEST - HASH_DIGITS - 1].rstrip('-.')}-{short_hash(original)}"
