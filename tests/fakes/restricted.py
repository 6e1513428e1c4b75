"""The restricted profile of the Pod Security Standards, written from their page and not from the operator's code.

https://kubernetes.io/docs/concepts/security/pod-security-standards/ (baseline and restricted). The API server's own
admission judges samples in tests/cluster.
"""

from collections.abc import Iterator, Mapping
from typing import Any

VOLUMES = {"configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "persistentVolumeClaim", "projected", "secret"}


def violations(pod: Mapping[str, Any], only: str | None = None) -> list[str]:
    """What a restricted namespace would refuse; only: of the container of that name, and of the pod as a whole."""
    spec = pod["spec"]
    found = [f"pod: {field}" for field in ("hostNetwork", "hostPID", "hostIPC") if spec.get(field)]
    for volume in spec.get("volumes") or ():
        found += [f"volume {volume['name']}: {kind}" for kind in set(volume) - {"name"} - VOLUMES]
    whole = spec.get("securityContext") or {}
    for kind in ("initContainers", "containers", "ephemeralContainers"):
        for container in spec.get(kind) or ():
            if only in (None, container["name"]):
                found += [f"{container['name']}: {wrong}" for wrong in _container(container, whole)]
    return found


def _container(container: Mapping[str, Any], whole: Mapping[str, Any]) -> Iterator[str]:
    own = container.get("securityContext") or {}
    if own.get("privileged"):
        yield "privileged"
    if own.get("allowPrivilegeEscalation") is not False:
        yield "allowPrivilegeEscalation"
    capabilities = own.get("capabilities") or {}
    if "ALL" not in (capabilities.get("drop") or ()) or set(capabilities.get("add") or ()) - {"NET_BIND_SERVICE"}:
        yield "capabilities"
    if (own.get("runAsNonRoot") if "runAsNonRoot" in own else whole.get("runAsNonRoot")) is not True:
        yield "runAsNonRoot"
    if (own.get("runAsUser") if "runAsUser" in own else whole.get("runAsUser")) == 0:
        yield "runAsUser"
    profile = own.get("seccompProfile") or whole.get("seccompProfile") or {}
    if profile.get("type") not in ("RuntimeDefault", "Localhost"):
        yield "seccompProfile"
    if own.get("procMount", "Default") != "Default":
        yield "procMount"
    if any(port.get("hostPort") for port in container.get("ports") or ()):
        yield "hostPort"
