"""Reading a MimicBackend: complete with defaults, or refused with all that is wrong."""

import json
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fakes.bad_backends import TABLE, Bad, good
from fakes.generated_backends import manifests
from fakes.kubernetes_examples import EXAMPLES, manifest_in
from mimic_operator.errors import InvalidBackend
from mimic_operator.resource.backend import parse
from mimic_operator.resource.fields import write_fields
from mimic_operator.resource.spec import LabelSelector
from mimic_operator.resource.spec.common import Requirement

PEM_WANTED = "must be PEM encoded certificates and nothing else; caBundleFrom names a ConfigMap or Secret"
ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=10), inner, max_size=3),
    max_leaves=10,
)


def problems_of(manifest: dict[str, Any]) -> dict[str, str]:
    with pytest.raises(InvalidBackend) as refused:
        parse(manifest, strict=True)
    return dict(refused.value.problems)


def test_the_least_resource_is_complete_with_defaults():
    backend = parse(good("sidecar"))
    assert (backend.namespace, backend.name, backend.mode) == ("default", "corp", "Sidecar")
    assert backend.auth.grant == "AuthCode"
    assert backend.embedding == backend.chat
    assert backend.injection.env.names == ("OPENAI_BASE_URL", "OPENAI_API_BASE", "OPENAI_API_KEY")
    assert backend.rollout.progress_timeout == 600
    assert backend.proxy.security_context.run_as_user == 65532
    assert not backend.tls.insecure_skip_verify


def test_identity_is_taken_from_the_metadata():
    manifest = good("sidecar")
    manifest["metadata"] |= {
        "namespace": "apps",
        "uid": "u",
        "generation": 7,
        "creationTimestamp": "2026-11-24T10:00:00Z",
    }
    backend = parse(manifest)
    assert (backend.namespace, backend.uid, backend.generation) == ("apps", "u", 7)
    assert backend.created == "2026-11-24T10:00:00Z"


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
def test_reads_every_example(example: Any):
    assert parse(manifest_in(example), strict=True).name


@pytest.mark.parametrize("bad", TABLE, ids=lambda bad: bad.what)
def test_refuses_what_is_wrong_and_names_the_field_alone(bad: Bad):
    found = problems_of(bad.manifest)
    assert [path for path in found if path == bad.field or path.startswith(f"{bad.field}.")] == list(found)


def test_every_bad_resource_has_its_own_name():
    assert len(TABLE) >= 60
    assert len({bad.what for bad in TABLE}) == len(TABLE)


def test_tells_all_problems_at_once():
    manifest = good("sidecar")
    manifest["spec"] |= {"mode": "Deployment", "timeouts": {"idle": "soon"}, "colour": "red"}
    manifest["spec"]["chat"]["url"] = "http://llm.corp.example"
    assert set(problems_of(manifest)) == {
        "spec.chat.url",
        "spec.colour",
        "spec.deployment",
        "spec.timeouts.idle",
    }


def test_message_names_every_field_and_repeats_no_value():
    manifest = good("sidecar")
    manifest["spec"]["auth"] |= {"tokenURL": "https://user:planted@login", "clientID": "planted\n"}
    with pytest.raises(InvalidBackend) as refused:
        parse(manifest)
    message = str(refused.value)
    assert message.startswith("2 invalid fields:")
    assert "spec.auth.tokenURL" in message
    assert "spec.auth.clientID" in message
    assert "planted" not in message


def test_passes_over_fields_of_a_newer_schema_unless_it_is_strict():
    manifest = good("sidecar")
    manifest["spec"]["laterField"] = {"a": 1}
    assert parse(manifest).name == "corp"
    assert set(problems_of(manifest)) == {"spec.laterField"}


@pytest.mark.parametrize(
    "manifest",
    [{}, {"kind": "Pod"}, {"metadata": []}, {"spec": []}, {"apiVersion": "v1", "kind": "MimicBackend", "spec": {}}],
)
def test_refuses_what_is_no_backend_at_all(manifest: dict[str, Any]):
    assert problems_of(manifest)


def test_refuses_names_that_no_object_has():
    manifest = good("sidecar", "Bad_Name")
    manifest["metadata"]["namespace"] = [1]
    assert set(problems_of(manifest)) == {"metadata.name", "metadata.namespace"}
    assert parse(good("sidecar", "corp.eu")).name == "corp.eu"


def test_null_counts_as_left_out_but_for_the_user_id():
    manifest = good("sidecar")
    manifest["spec"] |= {"timeouts": None, "proxy": {"securityContext": {"runAsUser": None}, "resources": None}}
    backend = parse(manifest, strict=True)
    assert backend.timeouts.idle is None
    assert backend.proxy.security_context.run_as_user is None


@given(spec=ANYTHING, at=st.sampled_from(["spec", "auth", "deployment", "injection", "proxy"]))
def test_never_ends_in_anything_but_a_refusal(spec: Any, at: str):
    manifest = good("deployment")
    if at == "spec":
        manifest["spec"] = spec
    else:
        manifest["spec"][at] = spec
    with suppress(InvalidBackend):
        parse(manifest, strict=True)


@settings(deadline=None, max_examples=100)
@given(manifest=manifests())
def test_what_is_written_again_reads_the_same(manifest: dict[str, Any]):
    try:
        backend = parse(manifest, strict=True)
    except InvalidBackend:
        return
    written = json.loads(json.dumps({**manifest, "spec": write_fields(backend.spec)}))
    assert parse(written, strict=True) == backend


@pytest.mark.parametrize(
    ("labels", "selected"),
    [
        ({"team": "search", "tier": "web"}, True),
        ({"team": "search"}, False),
        ({"team": "ads", "tier": "web"}, False),
        ({"team": "search", "tier": "batch"}, False),
        ({"team": "search", "tier": "web", "legacy": ""}, False),
    ],
)
def test_selects_by_all_conditions(labels: dict[str, str], selected: bool):
    selector = LabelSelector(
        match_labels={"team": "search"},
        match_expressions=(
            Requirement(key="tier", operator="Exists"),
            Requirement(key="tier", operator="NotIn", values=("batch",)),
            Requirement(key="legacy", operator="DoesNotExist"),
        ),
    )
    assert selector.matches(labels) is selected


def test_not_in_selects_what_lacks_the_label():
    selector = LabelSelector(match_expressions=(Requirement(key="tier", operator="NotIn", values=("batch",)),))
    assert selector.matches({})
    assert LabelSelector().matches({"any": "thing"})


@pytest.mark.parametrize(
    ("spec", "sentence"),
    [
        ({"tls": {"verify": False}}, "was renamed: use insecureSkipVerify, which is true where verify was false"),
        ({"limits": {}}, "was renamed: use callLimits"),
        ({"tls": {"caBundle": {"secretRef": {}}}}, PEM_WANTED),
        ({"timeouts": {"total": "15"}}, "must be a duration like 500ms, 10s or 1m30s"),
        ({"proxy": {"telemetry": {"traceSampleRatio": 0.1}}}, 'must be text from "0" to "1", as in "0.25"'),
        (
            {"proxy": {"env": [{"name": "LOG_LEVEL", "value": "DEBUG"}]}},
            "must not be LOG_LEVEL: other fields of this resource decide what it sets, "
            "and secrets belong in the Secret",
        ),
        ({"proxy": {"env": [{"name": "QUEUE_TIMEOUT", "value": "10s"}]}}, "must be a number of seconds like 10 or 0.5"),
    ],
    ids=str,
)
def test_a_refusal_names_the_field_to_use_or_shows_an_example(spec: dict[str, Any], sentence: str):
    manifest = good("sidecar")
    manifest["spec"] |= spec
    assert list(problems_of(manifest).values()) == [sentence]
