"""Both helms render every values file of `ci/` for every Kubernetes from the oldest to the newest."""

import json
from functools import cache
from pathlib import Path

import kubernetes_validate
import pytest

from fakes.helm import (
    CHART,
    CI_VALUES,
    NEWEST,
    OLDEST,
    VERSIONS,
    HelmFailed,
    Manifest,
    Rendering,
    command,
    helms,
    of_kind,
    render,
    run,
    text,
)

FOREIGN = {"monitoring.coreos.com/v1", "cert-manager.io/v1"}
NEEDS_POLICIES = {"tenants-values.yaml"}
values_file = pytest.mark.parametrize("file", CI_VALUES, ids=lambda file: file.stem)


@values_file
def test_no_lint_of_helms_complains(file: Path):
    for name in helms():
        version = NEWEST if name == "helm" else "1.35"
        said = run("lint", "--strict", str(CHART), f"--values={file}", f"--kube-version={version}", name=name)
        assert "0 chart(s) failed" in said


@pytest.mark.parametrize("version", VERSIONS)
def test_the_defaults_render_for_every_version_with_the_policies_that_it_has(version: str):
    kinds = {manifest["kind"] for manifest in render(Rendering(version=version))}
    assert ("ValidatingAdmissionPolicy" in kinds) == (version != OLDEST)


def test_older_clusters_are_refused():
    with pytest.raises(HelmFailed, match="kubeVersion"):
        render(Rendering(version="1.28"))


@values_file
@pytest.mark.parametrize("version", [OLDEST, NEWEST])
def test_renders_what_the_schemas_of_kubernetes_allow(file: Path, version: str):
    rendering = Rendering(values=[file], version=version)
    if file.name in NEEDS_POLICIES and version == OLDEST:
        with pytest.raises(HelmFailed, match=r"which Kubernetes has since 1\.30"):
            render(rendering)
        return
    manifests = render(rendering)
    assert len(manifests) >= 8
    for manifest in manifests:
        if manifest["apiVersion"] not in FOREIGN:
            _judge(json.dumps(manifest, sort_keys=True), version)


@cache
def _judge(manifest: str, version: str) -> None:
    """Most manifests are the same whatever the values; each is judged once."""
    kubernetes_validate.validate(json.loads(manifest), version, strict=True)


@values_file
def test_all_versions_between_render_the_same_objects_as_the_newest(file: Path):
    """The schemas of both ends are looked at above."""
    for version in VERSIONS[1:-1]:
        assert _objects(file, version) == _objects(file, NEWEST), version


def _objects(file: Path, version: str) -> list[str]:
    lines = text(Rendering(values=[file], version=version)).splitlines()
    return [line for line in lines if line.startswith(("kind: ", "  name: "))]


@values_file
def test_same_values_give_the_same_bytes(file: Path):
    assert run(*command(Rendering(values=[file]))) == text(Rendering(values=[file]))


@values_file
def test_both_helms_make_the_same_of_it(file: Path):
    first, *others = helms()
    for other in others:
        # They differ in the order in which kinds are installed.
        assert _by_name(render(Rendering(values=[file]), other)) == _by_name(render(Rendering(values=[file]), first))


def _by_name(manifests: list[Manifest]) -> list[Manifest]:
    return sorted(manifests, key=lambda entry: (entry["kind"], entry["metadata"]["name"], str(entry["metadata"])))


def test_everything_in_the_release_has_its_labels_and_a_namespace_where_there_is_one():
    cluster_wide = {
        "ClusterRole",
        "ClusterRoleBinding",
        "CustomResourceDefinition",
        "MutatingWebhookConfiguration",
        "ValidatingWebhookConfiguration",
        "ValidatingAdmissionPolicy",
        "ValidatingAdmissionPolicyBinding",
    }
    for manifest in render(Rendering(values=[CHART / "ci" / "everything-values.yaml"])):
        metadata = manifest["metadata"]
        assert metadata["labels"]["app.kubernetes.io/part-of"] == "mimic", metadata["name"]
        assert ("namespace" in metadata) == (manifest["kind"] not in cluster_wide), metadata["name"]


def test_two_releases_share_no_name():
    def names(release: str, namespace: str) -> set[tuple[str, str, str | None]]:
        rendering = Rendering(values=[CHART / "ci" / "namespaced-values.yaml"], release=release, namespace=namespace)
        return {
            (manifest["kind"], manifest["metadata"]["name"], manifest["metadata"].get("namespace"))
            for manifest in render(rendering)
        }

    releases = [("mimic", "a"), ("mimic", "b"), ("other", "a"), ("b", "a-mimic"), ("mimic-b", "a")]
    everything = [names(*release) for release in releases]
    for index, some in enumerate(everything):
        for others in everything[index + 1 :]:
            assert some & others == set()


def test_names_fit_however_long_the_release_is():
    manifests = render(
        Rendering(release="r" * 53, namespace="n" * 63, values=[CHART / "ci" / "everything-values.yaml"])
    )
    for manifest in manifests:
        longest = 63 if manifest["kind"] in {"Service", "Job", "Pod"} else 253
        assert len(manifest["metadata"]["name"]) <= longest


def test_the_crd_stays_when_the_release_goes():
    found = {crd["metadata"]["name"]: crd["metadata"] for crd in of_kind(render(), "CustomResourceDefinition")}
    assert found.keys() == {"mimicbackends.mimic.dev", "clustermimicbackends.mimic.dev"}
    assert all(metadata["annotations"]["helm.sh/resource-policy"] == "keep" for metadata in found.values())
    assert list(of_kind(render(Rendering(sets={"crds.enabled": "false"})), "CustomResourceDefinition")) == []
