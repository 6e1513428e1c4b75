"""A revision: what makes another one, and what reaches pods without."""

import json
from typing import Any

import pytest
from hypothesis import given, settings

from fakes.bad_backends import good
from fakes.generated_backends import backends
from mimic_operator.errors import InvalidBackend
from mimic_operator.resource.backend import Backend, parse
from mimic_operator.resource.container import ProxyDefaults
from mimic_operator.resource.revision import Revision, fixed_part, from_data, revision_of, spec_in, to_data

DEFAULTS = ProxyDefaults(image="mimic:0.1.0")


def revision_with(base: str = "sidecar", **spec: Any) -> Revision:
    manifest = good(base)
    for section, fields in spec.items():
        before = manifest["spec"].get(section, {})
        manifest["spec"][section] = {**before, **fields} if isinstance(fields, dict) else fields
    return revision_of(parse(manifest, strict=True), DEFAULTS)


RESTART = [
    {"auth": {"secretRef": {"name": "other"}}},
    {"auth": {"grant": "ClientCredentials"}},
    {"tls": {"caBundleFrom": {"configMapKeyRef": {"name": "ca", "key": "ca.crt"}}}},
    {"injection": {"port": 19000}},
    {"injection": {"port": 18480}},
    {"injection": {"readiness": "Token"}},
    {"injection": {"env": {"mode": "Always"}}},
    {"injection": {"containers": {"exclude": ["istio-proxy"]}}},
    {"injection": {"native": "Never"}},
    {"proxy": {"image": {"tag": "2"}}},
    {"proxy": {"env": [{"name": "BREAKER_FAILURES", "value": "5"}]}},
    {"proxy": {"resources": {"limits": {"memory": "512Mi"}}}},
    {"proxy": {"drainTimeout": "1m"}},
    {"proxy": {"imagePullSecrets": [{"name": "registry"}]}},
    {"proxy": {"telemetry": {"otlpEndpoint": "http://collector:4318"}}},
]
HOT = [
    {"chat": {"url": "https://other.example/v1"}},
    {"auth": {"tokenURL": "https://other.example/token"}},
    {"auth": {"recipe": {"format": "{token}"}}},
    {"timeouts": {"idle": "10s"}},
    {"callLimits": {"maxConcurrency": 5}},
    {"models": {"static": ["a"]}},
    {"tls": {"insecureSkipVerify": True}},
    {"proxy": {"logLevel": "DEBUG"}},
]
NEITHER = [
    {"suspend": True},
    {"injection": {"default": True}},
    {"injection": {"workloads": {"selector": {"matchLabels": {"team": "search"}}}}},
    {"rollout": {"policy": "Manual"}},
]


@pytest.mark.parametrize("change", RESTART, ids=str)
def test_what_only_a_restart_brings_makes_another_revision(change: dict[str, Any]):
    assert revision_with(**change).name != revision_with().name


@pytest.mark.parametrize("change", HOT, ids=str)
def test_configuration_reaches_pods_within_their_revision(change: dict[str, Any]):
    before, after = revision_with(), revision_with(**change)
    assert after.name == before.name
    assert fixed_part(after) == fixed_part(before)
    assert after.config_hash != before.config_hash


@pytest.mark.parametrize("change", NEITHER, ids=str)
def test_whom_it_is_for_changes_neither(change: dict[str, Any]):
    before, after = revision_with(), revision_with(**change)
    assert after == before


def test_another_image_of_the_operator_makes_another_revision():
    backend = parse(good("sidecar"))
    assert revision_of(backend, ProxyDefaults(image="mimic:0.2.0")).name != revision_of(backend, DEFAULTS).name


@settings(deadline=None, max_examples=60)
@given(backend=backends())
def test_comes_back_from_json_as_it_was_but_for_the_configuration(backend: Backend):
    revision = revision_of(backend, DEFAULTS)
    data = json.loads(json.dumps(to_data(revision, backend.spec)))
    back = from_data(data)
    assert fixed_part(back) == fixed_part(revision)
    assert spec_in(data) == backend.spec
    assert back.config == {}
    assert back.injection == revision.injection
    assert revision_of(backend, DEFAULTS) == revision


@settings(deadline=None, max_examples=60)
@given(backend=backends())
def test_names_fit_into_labels_and_bear_the_hash(backend: Backend):
    revision = revision_of(backend, DEFAULTS)
    assert len(revision.name) <= 63
    assert revision.name.startswith("mimic-")
    assert revision.config_map == revision.name or backend.mode == "Deployment"


def test_urls_are_the_pods_own_loopback_or_the_service():
    assert revision_with().url == "http://127.0.0.1:18480/v1"
    assert revision_with().url_at(18485) == "http://127.0.0.1:18485/v1"
    shared = revision_with("deployment")
    assert shared.url == shared.url_at(18485) == "http://mimic-corp.default.svc/v1"
    other = revision_with("deployment", deployment={"service": {"port": 8080}})
    assert other.url == "http://mimic-corp.default.svc:8080/v1"


def test_an_unreadable_revision_says_what_is_wrong():
    data = to_data(revision_with(), parse(good("sidecar")).spec)
    with pytest.raises(KeyError):
        from_data({key: value for key, value in data.items() if key != "container"})
    with pytest.raises(InvalidBackend, match=r"injection\.native"):
        from_data({**data, "injection": {**data["injection"], "native": "Sometimes"}})


def test_what_an_older_or_newer_operator_has_kept_is_read_as_far_as_it_goes():
    spec = parse(good("sidecar")).spec
    data = to_data(revision_with(), spec)
    first = {key: value for key, value in data.items() if key != "spec"} | {"format": 1}
    assert from_data(first) == from_data(data)
    assert spec_in(first) is None
    assert spec_in({**data, "spec": {**data["spec"], "later": 1}}) == spec
    assert spec_in({**data, "spec": {**data["spec"], "mode": "Orbit"}}) is None


def test_a_spec_with_earlier_names_is_read_with_those_of_today():
    """So that the pods of a revision from before the upgrade still get what changes without a restart."""
    spec = parse(
        {
            **good("sidecar"),
            "spec": {
                **good("sidecar")["spec"],
                "tls": {"insecureSkipVerify": True, "caBundleFrom": {"secretKeyRef": {"name": "ca", "key": "pem"}}},
                "callLimits": {"maxQueue": 5},
                "proxy": {"telemetry": {"traceSampleRatio": "0.25"}},
            },
        }
    ).spec
    written = to_data(revision_with(), spec)
    earlier = json.loads(json.dumps(written["spec"]))
    earlier["limits"] = earlier.pop("callLimits")
    earlier["tls"] = {"verify": False, "insecure": False, "caBundle": {"secretRef": {"name": "ca", "key": "pem"}}}
    earlier["proxy"]["telemetry"]["traceSampleRatio"] = 0.25
    assert spec_in({**written, "format": 2, "spec": earlier}) == spec
