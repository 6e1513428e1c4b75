"""An uninstall where no pod of the release ever ran, as with an image that cannot be pulled: here no node is."""

import subprocess
import time

import httpx2
import pytest

from fakes.applied import Cluster
from fakes.chart_release import eventually
from fakes.control_plane import ControlPlane
from fakes.helm import CHART, helms, run

POD = {
    "apiVersion": "v1",
    "kind": "Pod",
    "metadata": {"name": "labelled", "labels": {"mimic.dev/inject": "true"}},
    "spec": {"containers": [{"name": "application", "image": "application"}]},
}


@pytest.mark.parametrize("name", ["helm", "helm3"])
def test_an_uninstall_ends_at_once_and_leaves_nothing_that_blocks_pods(
    name: str, control_plane: ControlPlane, admin: httpx2.Client, namespace: str
):
    if name not in helms():
        pytest.skip(f"there is no {name} here")
    where = {"KUBECONFIG": str(control_plane.kubeconfig), "HOME": str(control_plane.folder), "PATH": "/usr/bin:/bin"}
    system = f"{namespace}-{name}"
    sets = ("--set", "image.repository=registry.invalid/none", "--set", "crds.enabled=false")
    release = ("mimic", "--namespace", system)
    run("install", *release, str(CHART), "--create-namespace", *sets, name=name, environ=where)
    cluster, pod = Cluster(admin), {**POD, "metadata": {**POD["metadata"], "namespace": namespace}}
    eventually("no webhook answers, so the pod is refused", lambda: cluster.apply(pod).status_code == 500)
    begun = time.monotonic()
    try:
        run("uninstall", *release, "--wait", name=name, environ=where)
    except subprocess.TimeoutExpired:
        pytest.fail("the uninstall waits for something")
    assert time.monotonic() - begun < 45
    for kind in ("mutating", "validating"):
        path = f"/apis/admissionregistration.k8s.io/v1/{kind}webhookconfigurations/admission.mimic.dev.{system}.mimic"
        assert admin.get(path).status_code == 404
    assert cluster.apply(pod).status_code == 201
