"""The Tiltfile, evaluated by a Starlark interpreter with Tilt's functions played: it asks for what is there."""

import shutil
import signal
import subprocess
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest
import starlark
import yaml

from fakes.helm import Rendering, helms, of_kind, one, text

ROOT = Path(__file__).parent.parent.parent
Calls = dict[str, list[tuple[tuple[Any, ...], dict[str, Any]]]]
RECORDED = ("docker_build", "sync", "run", "k8s_yaml", "k8s_kind", "k8s_resource")


@pytest.fixture(scope="module")
def calls() -> Calls:
    """Every call of a function of Tilt's, by name."""
    # Here, since what the interpreter calls cannot skip a test.
    helms()
    made: Calls = defaultdict(list)
    module = starlark.Module()

    def recorder(name: str) -> Any:
        def record(*arguments: Any, **options: Any) -> str:
            made[name].append((arguments, options))
            return name

        return record

    def helm(chart: str, name: str, namespace: str, set: list[str]) -> str:
        made["helm"].append(((chart,), {"name": name, "namespace": namespace}))
        sets = dict(entry.split("=", 1) for entry in set)
        return text(Rendering(release=name, namespace=namespace, sets=sets))

    for name in RECORDED:
        module.add_callable(name, recorder(name))
    module.add_callable("helm", helm)
    module.add_callable("decode_yaml_stream", lambda stream: [entry for entry in yaml.safe_load_all(stream) if entry])
    module.add_callable("encode_yaml_stream", yaml.safe_dump_all)
    parsed = starlark.parse("Tiltfile", (ROOT / "Tiltfile").read_text("utf-8"), dialect=starlark.Dialect.extended())
    starlark.eval(module, parsed, starlark.Globals.standard())
    return made


def manifests(calls: Calls) -> list[dict[str, Any]]:
    (encoded,), _ = calls["k8s_yaml"][0]
    found: list[dict[str, Any]] = list(yaml.safe_load_all(encoded))
    (files,), _ = calls["k8s_yaml"][1]
    return found + [entry for file in files for entry in yaml.safe_load_all((ROOT / file).read_text("utf-8"))]


def test_every_folder_and_file_that_it_names_is_there(calls: Calls):
    for (_, context), _ in calls["docker_build"]:
        assert (ROOT / context / "Dockerfile").is_file()
    for (source, _), _ in calls["sync"]:
        assert (ROOT / source).is_dir()


def test_it_builds_every_image_that_its_pods_ask_for(calls: Calls):
    built = {arguments[0] for arguments, _ in calls["docker_build"]}
    for manifest in of_kind(manifests(calls), "Deployment"):
        for container in manifest["spec"]["template"]["spec"]["containers"]:
            assert container["image"].split(":")[0] in built


def test_no_hook_is_applied_and_every_resource_it_names_is(calls: Calls):
    names = {manifest["metadata"]["name"] for manifest in manifests(calls)}
    assert "mimic-test" not in names
    for (name,), options in calls["k8s_resource"]:
        assert {name, *options.get("resource_deps", [])} <= names


@pytest.mark.skipif(shutil.which("sh") is None, reason="no POSIX shell on this machine")
def test_the_process_starts_anew_when_it_is_killed_and_ends_when_the_pod_does(calls: Calls, tmp_path: Path):
    (container,) = one(manifests(calls), "Deployment", "mimic-webhook")["spec"]["template"]["spec"]["containers"]
    assert container["args"] == ["mimic-operator", "webhook"]
    packages = tmp_path / "packages" / "mimic_operator"
    (packages / "__pycache__").mkdir(parents=True)
    shell, option, script, name = container["command"]
    for place, own in (("/tmp", tmp_path), ("/opt/mimic/lib/python3.11/site-packages", packages.parent)):
        script = script.replace(place, str(own))
    log = tmp_path / "log"
    command = [shell, option, script, name, "sh", "-c", f'echo "$PYTHONPATH" >>{log}; exec sleep 60']
    process = subprocess.Popen(command)
    try:
        _until(lambda: log.exists() and len(log.read_text().splitlines()) == 1)
        ((kill,), _) = calls["run"][0]
        subprocess.run(["sh", "-c", kill.replace("/tmp", str(tmp_path))], check=True)
        _until(lambda: len(log.read_text().splitlines()) == 2)
        assert set(log.read_text().splitlines()) == {str(tmp_path / "live")}
        assert list((tmp_path / "live" / "mimic_operator").iterdir()) == []
        process.send_signal(signal.SIGTERM)
        process.wait(10)
    finally:
        process.kill()
        process.wait()


def _until(true: Any) -> None:
    deadline = time.monotonic() + 15
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.05)
