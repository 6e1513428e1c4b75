"""`mimic-operator render` and `crd`, as a person types them."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from fakes.bad_backends import good
from fakes.kubernetes_examples import EXAMPLES, ROOT
from mimic_operator.resource.crd import cluster_definition, definition

MINIMAL = ROOT / "examples" / "kubernetes" / "backends" / "minimal.yaml"


def ended_with(command: list[str], **options: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, check=False, capture_output=True, text=True, cwd=ROOT, timeout=50, **options)


def run(*arguments: str, given: str = "", **environ: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "mimic_operator", *arguments]
    env = {**{key: value for key, value in os.environ.items() if not key.startswith("MIMIC_")}, **environ}
    return ended_with(command, input=given, env=env)


def test_renders_a_file_with_the_image_of_the_environment():
    ended = run("render", str(MINIMAL), MIMIC_IMAGE="registry.example.com/mimic:9")
    assert (ended.returncode, ended.stderr) == (0, "")
    kinds = {manifest["kind"]: manifest for manifest in yaml.safe_load_all(ended.stdout)}
    assert list(kinds) == ["ConfigMap", "ControllerRevision"]
    assert kinds["ControllerRevision"]["data"]["container"]["image"] == "registry.example.com/mimic:9"
    assert "  mimic.yaml: |\n    admin_host:" in ended.stdout


def test_renders_several_documents_and_lists_from_a_pipe_and_passes_over_the_rest():
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a"}}
    listed = {"apiVersion": "v1", "kind": "List", "items": [good("deployment", "two"), pod]}
    ended = run("render", "-", "--namespace", "apps", given=yaml.safe_dump_all([pod, good("sidecar", "one"), listed]))
    assert ended.returncode == 0, ended.stderr
    manifests = list(yaml.safe_load_all(ended.stdout))
    assert {manifest["metadata"]["namespace"] for manifest in manifests} == {"apps"}
    assert [manifest["kind"] for manifest in manifests][:3] == ["ConfigMap", "ControllerRevision", "ServiceAccount"]


def test_says_it_in_words():
    ended = run("render", "--explain", *(str(example) for example in EXAMPLES))
    assert ended.returncode == 0, ended.stderr
    for wanted in (
        "default/corp",
        "Secret    corp-llm in namespace default, with AUTH_CODE",
        "a token of the pod's service account, for https://login.corp.example",
        "label pods mimic.dev/inject=true and annotate them mimic.dev/backend=llm/shared",
        "spec.tls.insecure: tokens and prompts cross the network unencrypted",
        "team=search and tier NotIn (batch); they are restarted one after another",
    ):
        assert wanted in ended.stdout
    assert max(map(len, ended.stdout.splitlines())) <= 120


def test_tells_all_problems_of_all_backends_by_name_and_field():
    one, two = good("sidecar", "one"), good("sidecar", "two")
    one["spec"]["chat"]["url"] = "http://user:planted@a"
    two["spec"] |= {"colour": "red", "mode": "Deployment"}
    ended = run("render", "-", given=yaml.safe_dump_all([one, two]))
    assert ended.returncode == 2
    assert ended.stdout == ""
    assert ended.stderr.splitlines() == [
        "mimic-operator: 3 invalid fields:",
        "  one: spec.chat.url: must not hold a user name or password; put credentials into the Secret",
        "  two: spec.colour: is no field of this version",
        "  two: spec.deployment: is required in mode Deployment, and forbidden in mode Sidecar",
    ]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("", "there is no MimicBackend in what was given"),
        ("a: [", "the standard input is no YAML, line "),
        ("- 1\n", "holds something that is no Kubernetes manifest: each needs a kind"),
        ("kind: Pod\n", "there is no MimicBackend in what was given"),
        ("kind: MimicBackend\n", "kind: must be MimicBackend, with apiVersion mimic.dev/v1alpha1"),
        ("kind: List\nitems: 5\n", "holds a List whose items are no list"),
    ],
)
def test_refuses_what_it_cannot_read(given: str, said: str):
    ended = run("render", "-", given=given)
    assert (ended.returncode, ended.stdout) == (2, "")
    assert said in ended.stderr
    assert "Traceback" not in ended.stderr


def test_names_a_file_that_is_not_there(tmp_path: Path):
    ended = run("render", str(tmp_path / "none.yaml"))
    assert ended.returncode == 2
    assert "none.yaml cannot be read: No such file or directory" in ended.stderr


def test_names_settings_that_are_wrong():
    ended = run("render", str(MINIMAL), PROXY_LIMITS="cpu=1", METRICS_PORT="x")
    assert ended.returncode == 2
    assert "2 invalid settings" in ended.stderr
    assert "PROXY_LIMITS: must limit memory too" in ended.stderr


def test_prints_the_definition():
    ended = run("crd")
    assert ended.returncode == 0
    assert list(yaml.safe_load_all(ended.stdout)) == [definition(), cluster_definition()]


def test_explains_itself_without_importing_a_kubernetes_client():
    code = "import sys; from mimic_operator.__main__ import main\ntry: main(['--help'])\nexcept SystemExit: pass\n"
    code += "main(['render', 'examples/kubernetes/backends/minimal.yaml'])\n"
    code += "assert {'kopf', 'lightkube', 'aiohttp', 'mimic_proxy'}.isdisjoint(sys.modules)"
    ended = ended_with([sys.executable, "-c", code])
    assert ended.returncode == 0, ended.stderr
    for command in ("reconciler", "webhook", "render", "inject", "release", "crd"):
        assert command in ended.stdout


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full on this system")
def test_says_that_the_output_cannot_be_written():
    command = f"{sys.executable} -m mimic_operator crd > /dev/full"
    ended = ended_with(["bash", "-c", command])
    assert ended.returncode == 1
    assert ended.stderr == "mimic-operator: the output cannot be written: No space left on device\n"


def test_ends_quietly_where_nobody_reads_on():
    command = f"{sys.executable} -m mimic_operator crd | head -1"
    ended = ended_with(["bash", "-c", command])
    assert (ended.stdout, ended.stderr) == ("apiVersion: apiextensions.k8s.io/v1\n", "")
