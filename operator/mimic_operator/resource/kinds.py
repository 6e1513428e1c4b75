"""The kinds that a MimicBackend is about: itself, its children, the workloads that it selects."""

from mimic_operator.resource.naming import CLUSTER_KIND, CLUSTER_PLURAL, GROUP, KIND, PLURAL, VERSION
from mimic_operator.runtime.kinds import (
    AUTOSCALER,
    BUDGET,
    CONFIG_MAP,
    CONTROLLER_REVISION,
    CRON_JOB,
    DAEMON_SET,
    DEPLOYMENT,
    LEASE,
    NETWORK_POLICY,
    POD_MONITOR,
    SECRET,
    SERVICE,
    SERVICE_ACCOUNT,
    STATEFUL_SET,
    Kind,
)

BACKEND = Kind(GROUP, VERSION, KIND, PLURAL)
CLUSTER_BACKEND = Kind(GROUP, VERSION, CLUSTER_KIND, CLUSTER_PLURAL, namespaced=False)
WORKLOADS = (DEPLOYMENT, STATEFUL_SET, DAEMON_SET, CRON_JOB)
"""What can be selected; it carries a pod template that may be changed."""
CHILDREN = (
    SERVICE_ACCOUNT,
    CONFIG_MAP,
    CONTROLLER_REVISION,
    DEPLOYMENT,
    SERVICE,
    BUDGET,
    AUTOSCALER,
    NETWORK_POLICY,
    POD_MONITOR,
)
"""What a backend owns; the last is there only where the Prometheus operator is."""
KINDS = {(kind.api_version, kind.kind): kind for kind in (BACKEND, *CHILDREN, *WORKLOADS, SECRET, LEASE)}
KIND_BY_NAME = {kind.kind: kind for kind in KINDS.values()}
