"""The chart mimic-backends: MimicBackends as objects that helm and Argo CD track."""

from pathlib import Path

import pytest
import yaml

from fakes.helm import CHART, HelmFailed, helms, run
from mimic_operator.resource.backend import parse

BACKENDS = CHART.parent / "mimic-backends"
VALUES = sorted((BACKENDS / "ci").glob("*-values.yaml"))


def rendered(*options: str, name: str | None = None) -> list[dict]:
    words = ["template", "backends", str(BACKENDS), "--namespace", "team", "--kube-version", "1.35", *options]
    return [entry for entry in yaml.safe_load_all(run(*words, name=name)) if entry]


@pytest.mark.parametrize("file", VALUES, ids=lambda file: file.stem)
def test_every_values_file_passes_lint_and_gives_valid_backends(file: Path):
    for name in helms():
        said = run("lint", "--strict", str(BACKENDS), f"--values={file}", "--kube-version=1.35", name=name)
        assert "0 chart(s) failed" in said
        for manifest in rendered(f"--values={file}", name=name):
            parse({**manifest, "metadata": {**manifest["metadata"], "uid": "u"}})


def test_backends_have_the_namespace_and_name_of_their_entry_and_no_hook():
    found = {
        (entry["metadata"]["namespace"], entry["metadata"]["name"]): entry["metadata"]
        for entry in rendered(f"--values={BACKENDS / 'ci' / 'several-values.yaml'}")
    }
    assert found.keys() == {("shop", "corp"), ("search", "corp"), ("team", "own")}
    assert found["shop", "corp"]["annotations"] == {"example.com/note": "yes"}
    assert found["shop", "corp"]["labels"]["tier"] == "gold"
    for metadata in found.values():
        assert metadata["labels"]["team"] == "platform"
        assert metadata["labels"]["app.kubernetes.io/managed-by"] == "Helm"


@pytest.mark.parametrize(
    ("values", "named"),
    [
        ('backends={"corp": {"namespace": "shop"}}', "spec"),
        ('backends={"Corp": {"spec": {"mode": "Sidecar"}}}', "backends"),
        ('backends={"corp": {"spec": {"mode": "Sidecar"}, "label": {}}}', "label"),
        ('backend={"corp": {}}', "backend"),
    ],
)
def test_wrong_values_are_refused_by_name(values: str, named: str):
    with pytest.raises(HelmFailed, match=named):
        rendered(f"--set-json={values}")


def test_the_readme_describes_every_value():
    text = (BACKENDS / "README.md").read_text("utf-8")
    for key in yaml.safe_load((BACKENDS / "values.yaml").read_text("utf-8")):
        assert f"| `{key}` |" in text
