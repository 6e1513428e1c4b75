"""The CustomResourceDefinition on a real API server: what it accepts, fills in, shows and refuses."""

from pathlib import Path
from typing import Any

import httpx2
import pytest

from fakes.bad_backends import TABLE, Bad, good
from fakes.bad_values import tried
from fakes.definition import any_spec, installed
from fakes.kubernetes_examples import EXAMPLES, manifest_in
from fakes.reconcilers import eventually
from mimic_operator.errors import InvalidBackend
from mimic_operator.resource.backend import parse
from mimic_operator.resource.fields import write_fields

OF_STRUCTURE = (
    *("is required", "is no field", "must be one of", "must be text", "must be a list", "must be a mapping"),
    *("must be a whole number", "must be a number", "must have ", "must not be empty", "must be true or false"),
    *("must be a quantity", "must be a number like", "must be PEM", "must not name anything twice"),
)
PEM_WANTED = "must be PEM encoded certificates and nothing else; caBundleFrom names a ConfigMap or Secret"
STRICT = {"dryRun": "All", "fieldValidation": "Strict"}


@pytest.fixture(scope="module")
def api(admin: httpx2.Client) -> httpx2.Client:
    installed(admin)
    return admin


def create(api: httpx2.Client, namespace: str, manifest: dict[str, Any], **params: str) -> httpx2.Response:
    metadata = {**manifest["metadata"], "namespace": namespace}
    path = f"/apis/mimic.dev/v1alpha1/namespaces/{namespace}/mimicbackends"
    return api.post(path, params=params, json={**manifest, "metadata": metadata})


def fields_named(answer: httpx2.Response) -> set[str]:
    """The paths that a refusal blames, with dots and indexes as `parse` writes them."""
    details = answer.json().get("details", {}).get("causes", [])
    return {cause["field"] for cause in details if "field" in cause}


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
def test_accepts_every_example_and_fills_in_what_parse_fills_in(api: httpx2.Client, namespace: str, example: Path):
    manifest = manifest_in(example)
    answer = create(api, namespace, manifest, **STRICT)
    assert answer.status_code == 201, answer.text
    assert "warning" not in answer.headers
    stored = answer.json()
    assert parse(stored, strict=True).spec == parse(manifest).spec


def test_defaults_are_those_of_parse(api: httpx2.Client, namespace: str):
    for base in ("sidecar", "deployment"):
        stored = create(api, namespace, good(base), **STRICT).json()
        assert stored["spec"] == write_fields(parse(good(base)).spec)


@pytest.mark.parametrize("bad", TABLE, ids=lambda bad: bad.what)
def test_refuses_what_is_wrong_and_names_the_field(api: httpx2.Client, namespace: str, bad: Bad):
    answer = create(api, namespace, bad.manifest, **STRICT)
    assert answer.status_code in (400, 422), answer.text
    blamed = fields_named(answer)
    named = any(field == bad.field or field.startswith((f"{bad.field}.", f"{bad.field}[")) for field in blamed)
    # Unknown fields are refused by the decoder, which gives a message and no causes.
    message = answer.json()["message"]
    assert named or f'unknown field "{bad.field}"' in message, answer.text
    with pytest.raises(InvalidBackend) as refused:
        parse(bad.manifest, strict=True)
    for _, sentence in refused.value.problems:
        # Rules are told in the same sentence; of types and bounds the API server speaks in its own words.
        assert sentence.startswith(OF_STRUCTURE) or sentence in message


def read(manifest: dict[str, Any]) -> str:
    """What `parse` says of it; empty if nothing."""
    try:
        parse(manifest, strict=True)
    except InvalidBackend as refused:
        return str(refused)
    return ""


@pytest.mark.timeout(150)
def test_api_server_and_parse_agree_on_every_field(api: httpx2.Client, namespace: str):
    """Each field as null, of another type, out of bounds, with control characters and so on."""
    differ, met = [], {True: 0, False: 0}
    for each in tried():
        answer, said = create(api, namespace, each.manifest, **STRICT), read(each.manifest)
        met[accepted := answer.status_code == 201] += 1
        assert answer.status_code in (201, 400, 422), (each.what, answer.text)
        if accepted != (said == ""):
            differ.append((each.what, answer.json().get("message", "accepted"), said))
    assert differ == []
    print(f"{met[True]} accepted, {met[False]} refused")
    assert met[False] > 1500
    assert met[True] > 300


def test_prunes_what_it_does_not_know_and_warns(api: httpx2.Client, namespace: str):
    manifest = good("sidecar")
    manifest["spec"]["colour"] = "red"
    answer = create(api, namespace, manifest, dryRun="All", fieldValidation="Warn")
    assert answer.status_code == 201
    assert 'unknown field \\"spec.colour\\"' in answer.headers["warning"]
    assert "colour" not in answer.json()["spec"]


def test_keeps_a_null_user_id(api: httpx2.Client, namespace: str):
    manifest = good("sidecar")
    manifest["spec"]["proxy"] = {"securityContext": {"runAsUser": None}}
    stored = create(api, namespace, manifest, **STRICT).json()
    assert stored["spec"]["proxy"]["securityContext"] == {"runAsUser": None}


EARLIER = {
    "mode": "Deployment",
    "tls": {"verify": False, "caBundle": {"configMapRef": {"name": "ca", "key": "ca.crt"}}},
    "limits": {"maxQueue": 5},
    "deployment": {"open": True, "pdb": {"enabled": False}, "topologySpread": [{"maxSkew": 1}]},
}


def test_a_resource_with_earlier_names_keeps_them_until_it_is_changed_and_can_still_report(
    api: httpx2.Client, namespace: str
):
    """As after an upgrade of the chart: nothing is lost silently, and the status says what to write."""
    path = f"/apis/mimic.dev/v1alpha1/namespaces/{namespace}/mimicbackends/corp"
    manifest = good("sidecar")
    manifest["spec"] |= EARLIER
    with any_spec(api):
        eventually(lambda: create(api, namespace, manifest, fieldValidation="Strict").status_code in (201, 409))
    stored = eventually(lambda: found if (found := api.get(path).json())["spec"]["tls"]["caBundle"] == {} else None)
    assert stored["spec"]["tls"]["verify"] is False
    assert stored["spec"]["limits"] == {"maxQueue": 5}
    assert stored["spec"]["deployment"]["topologySpread"] == [{"maxSkew": 1}]
    with pytest.raises(InvalidBackend) as refused:
        parse(stored)
    assert [(path, sentence) for path, sentence in refused.value.problems if path != "spec.deployment.access"] == [
        ("spec.deployment.open", "was renamed: use access: Open where open was true"),
        ("spec.deployment.pdb", "was renamed: use podDisruptionBudget"),
        ("spec.deployment.topologySpread", "was renamed: use topologySpreadConstraints"),
        ("spec.limits", "was renamed: use callLimits"),
        ("spec.tls.caBundle", PEM_WANTED),
        ("spec.tls.verify", "was renamed: use insecureSkipVerify, which is true where verify was false"),
    ]
    kind = {"content-type": "application/merge-patch+json"}
    if int(api.get("/version").json()["minor"].rstrip("+")) >= 30:
        # Before, Kubernetes validates the spec that is stored whenever the status changes.
        answer = api.patch(f"{path}/status", json={"status": {"currentRevision": "mimic-corp-1"}}, headers=kind)
        assert answer.status_code == 200, answer.text
    refusal = api.patch(path, json={"spec": {"limits": {"maxQueue": 6}}}, headers=kind)
    assert refusal.status_code == 422
    if int(api.get("/version").json()["minor"].rstrip("+")) >= 30:
        # Before, the fields that are stored are refused first, and hide the one that was written.
        assert "use callLimits" in refusal.json()["message"]


def test_names_the_variable_that_it_refuses(api: httpx2.Client, namespace: str):
    manifest = good("sidecar")
    manifest["spec"]["proxy"] = {"env": [{"name": "HTTPS_PROXY", "value": "http://p"}, {"name": "PORT", "value": "1"}]}
    answer = create(api, namespace, manifest, **STRICT)
    assert fields_named(answer) == {"spec.proxy.env[1].name"}
    assert "must not be PORT: other fields of this resource decide what it sets" in answer.json()["message"]


def test_scales_what_leaves_its_replicas_out(api: httpx2.Client, namespace: str):
    assert create(api, namespace, good("deployment")).status_code == 201
    base = f"/apis/mimic.dev/v1alpha1/namespaces/{namespace}/mimicbackends"
    scale = api.get(f"{base}/corp/scale")
    assert (scale.status_code, scale.json()["spec"]["replicas"]) == (200, 2)


def test_scales_a_deployment_and_no_sidecars(api: httpx2.Client, namespace: str):
    base = f"/apis/mimic.dev/v1alpha1/namespaces/{namespace}/mimicbackends"
    for kind in ("deployment", "sidecar"):
        manifest = {**good(kind), "metadata": {"name": kind}}
        assert create(api, namespace, manifest).status_code == 201
    patch = {"spec": {"replicas": 5}}
    kind = {"content-type": "application/merge-patch+json"}
    scaled = api.patch(f"{base}/deployment/scale", json=patch, headers=kind)
    assert scaled.status_code == 200, scaled.text
    assert api.get(f"{base}/deployment").json()["spec"]["deployment"]["replicas"] == 5
    refused = api.patch(f"{base}/sidecar/scale", json=patch, headers=kind)
    assert refused.status_code == 422, refused.text


def test_shows_mode_reason_and_url_in_a_list(api: httpx2.Client, namespace: str):
    base = f"/apis/mimic.dev/v1alpha1/namespaces/{namespace}/mimicbackends"
    assert create(api, namespace, good("sidecar")).status_code == 201
    condition = {"type": "Ready", "status": "False", "reason": "SecretMissing", "message": "x"}
    status = {
        "url": "http://127.0.0.1:18480/v1",
        "injected": {"total": 3},
        "conditions": [{**condition, "lastTransitionTime": "2026-11-24T10:00:00Z"}],
    }
    kind = {"content-type": "application/merge-patch+json"}
    assert api.patch(f"{base}/corp/status", json={"status": status}, headers=kind).status_code == 200
    table = api.get(base, headers={"accept": "application/json;as=Table;v=v1;g=meta.k8s.io"}).json()
    columns = [column["name"] for column in table["columnDefinitions"] if column["priority"] == 0]
    assert columns == ["Name", "Mode", "Ready", "Reason", "Endpoint", "Injected", "Age"]
    shown = dict(zip([column["name"] for column in table["columnDefinitions"]], table["rows"][0]["cells"], strict=True))
    assert (shown["Mode"], shown["Reason"], shown["Injected"]) == ("Sidecar", "SecretMissing", 3)
    assert shown["Endpoint"] == "http://127.0.0.1:18480/v1"
    assert shown["Upstream"] == "https://llm.corp.example/v1"


def test_a_status_does_not_change_the_spec_nor_the_other_way_round(api: httpx2.Client, namespace: str):
    manifest = {**good("sidecar"), "status": {"url": "http://planted"}}
    stored = create(api, namespace, manifest, **STRICT).json()
    assert "status" not in stored
