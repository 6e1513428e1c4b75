"""`mimic-operator inject`, as it is typed."""

import io
from pathlib import Path
from typing import Any

import pytest
import yaml

from fakes.manifests import Manifest, backend, container, pod, shared
from mimic_operator.__main__ import main

IMAGE = "registry.example.com/mimic:1.0.0"
KINDS = ["Deployment", "StatefulSet", "DaemonSet", "ReplicaSet", "Job", "CronJob", "Pod"]


BILLIONS = "a0: &a0 [x]\n" + "".join(
    f"a{number}: &a{number} [{', '.join([f'*a{number - 1}'] * 10)}]\n" for number in range(1, 12)
)


def workload(kind: str, template: Manifest, **labels: str) -> Manifest:
    found: Manifest = {"apiVersion": "apps/v1", "kind": kind, "metadata": {"name": "web", "labels": labels}}
    inner = {"spec": {"template": {"metadata": template["metadata"], "spec": template["spec"]}}}
    if kind == "Pod":
        return {**template, "metadata": {**template["metadata"], "name": "web"}}
    return found | ({"spec": {"jobTemplate": inner}} if kind == "CronJob" else inner)


class Shell:
    """Runs the command with files of a folder."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self.folder, self._monkeypatch, self._capsys = folder, monkeypatch, capsys
        monkeypatch.setenv("MIMIC_IMAGE", IMAGE)

    def write(self, name: str, *manifests: Any) -> str:
        path = self.folder / name
        path.write_text(yaml.safe_dump_all(manifests))
        return str(path)

    def run(self, *arguments: str, source: str = "") -> tuple[int, list[Manifest], str]:
        """Exit code, what was printed, what was said."""
        self._monkeypatch.setattr("sys.stdin", io.StringIO(source))
        code = main(["inject", *arguments])
        said = self._capsys.readouterr()
        return code, list(yaml.safe_load_all(said.out)), said.err


@pytest.fixture
def shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Shell:
    return Shell(tmp_path, monkeypatch, capsys)


def images(found: Any) -> list[str]:
    if isinstance(found, dict):
        own = [found["image"]] if "image" in found else []
        return own + [each for value in found.values() for each in images(value)]
    return [each for value in found for each in images(value)] if isinstance(found, list) else []


@pytest.mark.parametrize("kind", KINDS)
def test_a_workload_comes_out_with_the_proxy_in_its_pod(shell: Shell, kind: str):
    file = shell.write("web.yaml", workload(kind, pod(owner=None)))
    code, (found,), said = shell.run(file, "--backend", shell.write("b.yaml", backend()), "--namespace", "shop")
    assert code == 0
    assert found["kind"] == kind
    assert sorted(images(found)) == [IMAGE, "registry.example.com/web:1"]
    assert "ownerReferences" not in yaml.safe_dump(found)
    assert said.startswith(f"{kind.lower()}/web: admitted, Injected. The proxy for the backend corp was added")
    assert ("BarePod" in said) == (kind == "Pod")


def test_manifests_come_from_a_pipe_and_what_is_no_pod_passes(shell: Shell):
    service = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "web"}}
    given = {"apiVersion": "v1", "kind": "List", "items": [service, workload("Deployment", pod(owner=None)), backend()]}
    code, found, _ = shell.run("-", "--namespace", "shop", source=yaml.safe_dump(given))
    assert code == 0
    assert [each["kind"] for each in found] == ["Service", "Deployment", "MimicBackend"]
    assert found[0] == service
    assert IMAGE in images(found[1])


def test_a_backend_without_a_namespace_stands_where_the_pods_do(shell: Shell):
    loose = backend()
    del loose["metadata"]["namespace"]
    code, _, said = shell.run(shell.write("all.yaml", loose, workload("Job", pod(owner=None))), "--namespace", "dev")
    assert (code, "Injected" in said) == (0, True)


def test_a_workload_that_a_backend_selects_needs_no_label(shell: Shell):
    chosen = backend(injection={"workloads": {"selector": {"matchLabels": {"app": "web"}}}})
    bare = workload("Deployment", pod(owner=None, labels={}), app="web")
    code, found, _ = shell.run(shell.write("all.yaml", chosen, bare), "--namespace", "shop")
    metadata = found[1]["spec"]["template"]["metadata"]
    assert metadata["labels"] == {
        "mimic.dev/inject": "true",
        "mimic.dev/managed": "true",
        "mimic.dev/injected": "sidecar",
    }
    assert metadata["annotations"]["mimic.dev/backend"] == "corp"
    assert code == 0


def test_what_is_denied_comes_back_as_it_was_with_the_reason_and_another_exit_code(shell: Shell):
    given = workload("Deployment", pod(owner=None, annotations={"mimic.dev/backend": "x"}))
    code, found, said = shell.run(shell.write("web.yaml", given), "--namespace", "shop")
    assert (code, found) == (1, [given])
    assert "deployment/web: denied, UnknownBackend. There is no MimicBackend x" in said


def test_explain_tells_every_note_and_change(shell: Shell):
    given = workload("Deployment", pod(container(ports=[{"containerPort": 18480}]), owner=None))
    file = shell.write("all.yaml", given, backend())
    short, full = shell.run(file, "--namespace", "shop")[2], shell.run(file, "--namespace", "shop", "--explain")[2]
    assert "PortMoved" not in short
    assert "  note, PortMoved. Port 18480 is used by container web: the proxy takes 18482" in full
    assert "  add /spec/initContainers" in full


def test_an_older_kubernetes_gets_a_plain_sidecar(shell: Shell):
    file = shell.write("all.yaml", workload("Job", pod(owner=None)), backend())
    _, found, said = shell.run(file, "--namespace", "shop", "--kubernetes", "v1.31")
    assert [each["name"] for each in found[0]["spec"]["template"]["spec"]["containers"]] == ["web", "mimic-proxy"]
    assert "JobNeverEnds" in said


def test_once_is_enough_offline_too(shell: Shell):
    file = shell.write("all.yaml", workload("Deployment", pod(owner=None)), backend())
    _, once, _ = shell.run(file, "--namespace", "shop")
    _, twice, said = shell.run(shell.write("again.yaml", *once), "--namespace", "shop")
    assert twice == once
    assert "AlreadyInjected" in said


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (": :", "YAML"),
        ("[1]", "manifest"),
        ("kind: Pod\nspec: 5\n", "a Pod in it is malformed"),
        ("kind: Deployment\nspec: []\n", "a Deployment in it is malformed"),
        ("kind: Deployment\nspec: {template: 5}\n", "a Deployment in it is malformed: spec.template.spec is required"),
        ("kind: Pod\nmetadata: x\n", "a Pod whose metadata is no mapping"),
        ("kind: PodList\nitems: 5\n", "a PodList whose items are no list"),
        ("kind: Pod\nmetadata: {labels: {mimic.dev/inject: true}}\nspec: {containers: [{name: a}]}\n", "must be text"),
        ("{" * 20_000, "nested too deeply"),
        ("kind: ConfigMap\ndata: &a {b: *a}\n", "it holds itself"),
        (BILLIONS, "too large: with its aliases written out"),
    ],
)
def test_a_file_that_is_no_manifest_is_named(shell: Shell, text: str, says: str):
    file = shell.folder / "wrong.yaml"
    file.write_text(text)
    code, _, said = shell.run(str(file))
    assert code == 2
    assert says in said
    assert "Traceback" not in said


def test_a_file_that_is_not_there_and_a_wrong_backend_are_no_crash(shell: Shell):
    assert "none.yaml" in shell.run(str(shell.folder / "none.yaml"))[2]
    code, _, said = shell.run(shell.write("b.yaml", backend(chat={"url": "ftp://x"})))
    assert code == 2
    assert "spec.chat.url" in said


def test_nothing_to_inject_is_said(shell: Shell):
    assert "There is no pod and no workload in it." in shell.run(shell.write("b.yaml", backend()))[2]


def test_several_files_are_one_stream(shell: Shell):
    files = [shell.write(f"{name}.yaml", workload("Job", pod(owner=None))) for name in ("a", "b")]
    code, found, _ = shell.run(*files, "--backend", shell.write("c.yaml", backend()), "--namespace", "shop")
    assert (code, len(found)) == (0, 2)


def test_a_list_of_the_api_says_once_what_its_items_are(shell: Shell):
    item = {key: value for key, value in pod(owner=None).items() if key not in ("apiVersion", "kind")}
    given = {"apiVersion": "v1", "kind": "PodList", "items": [item]}
    code, (found,), _ = shell.run(
        shell.write("all.yaml", given), "--backend", shell.write("b.yaml", backend()), "--namespace", "shop"
    )
    assert (code, found["kind"], found["apiVersion"]) == (0, "Pod", "v1")
    assert IMAGE in images(found)


def test_times_stay_the_text_that_they_are(shell: Shell):
    text = "kind: ConfigMap\nmetadata: {creationTimestamp: 2026-01-01T00:00:00Z}\ndata: {day: 2026-01-01}\n"
    found = shell.run("-", source=text)[1][0]
    assert found["metadata"]["creationTimestamp"] == "2026-01-01T00:00:00Z"
    assert found["data"] == {"day": "2026-01-01"}


def test_a_namespace_in_the_file_counts(shell: Shell):
    asking: Manifest = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop"}}
    asking["metadata"]["labels"] = {"mimic.dev/injection": "enabled", "istio-injection": "enabled"}
    bare = workload("Deployment", pod(owner=None, labels={}))
    bare["metadata"]["namespace"] = "shop"
    code, found, said = shell.run(shell.write("all.yaml", asking, backend(), bare), "--explain")
    assert code == 0
    assert IMAGE in images(found[2])
    assert found[2]["spec"]["template"]["metadata"]["labels"] == {"mimic.dev/injected": "sidecar"}
    assert "NamespaceEntry" in said
    assert "MeshPort" in said


def test_a_namespace_decides_whether_a_shared_proxy_admits_its_pods(shell: Shell):
    chosen = {"from": "Selector", "selector": {"matchLabels": {"team": "finance"}}}
    given = workload("Deployment", pod(owner=None, annotations={"mimic.dev/backend": "platform/central"}))
    team = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop", "labels": {"team": "finance"}}}
    both = [shared(allowedNamespaces=chosen), given]
    assert "NotAllowed" in shell.run(shell.write("a.yaml", *both), "--namespace", "shop")[2]
    assert "Pointed" in shell.run(shell.write("b.yaml", team, *both), "--namespace", "shop")[2]


def test_a_workload_on_the_network_of_its_host_is_not_selected(shell: Shell):
    chosen = backend(injection={"workloads": {"selector": {}}})
    given = workload("Deployment", pod(owner=None, labels={}, hostNetwork=True))
    code, found, said = shell.run(shell.write("all.yaml", chosen, given), "--namespace", "shop")
    assert (code, found[1]) == (0, given)
    assert "NotOptedIn" in said


def cluster(spec: Manifest, **more: Any) -> Manifest:
    """Admits the namespace shop alone."""
    found = {"apiVersion": "mimic.dev/v1alpha1", "kind": "ClusterMimicBackend", "metadata": {"name": "corp"}}
    return found | {"spec": {"namespaces": {"names": ["shop"]}, "backend": spec, **more}}


def test_a_backend_of_the_whole_cluster_counts_where_it_admits_the_namespace(shell: Shell):
    everywhere = shell.write("c.yaml", cluster(backend()["spec"]))
    web = shell.write("web.yaml", workload("Deployment", pod(owner=None)))
    code, found, said = shell.run(web, "--backend", everywhere, "--namespace", "shop")
    assert (code, IMAGE in images(found)) == (0, True), said
    assert "NoBackend" in shell.run(web, "--backend", everywhere, "--namespace", "other")[2]


def test_a_shared_proxy_of_the_whole_cluster_is_called_from_where_it_is_admitted(shell: Shell):
    spec = {**backend()["spec"], "mode": "Deployment", "deployment": {"access": "Open"}}
    everywhere = shell.write("c.yaml", cluster(spec, deploymentNamespace="llm"))
    web = shell.write("web.yaml", workload("Deployment", pod(owner=None)))
    code, _, said = shell.run(web, "--backend", everywhere, "--namespace", "shop")
    assert (code, "Pointed. The containers call the shared proxy of the backend llm/corp" in said) == (0, True), said
