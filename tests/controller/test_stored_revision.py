"""What of a newer spec reaches the pods of an older revision: all of its configuration, or none of it."""

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fakes.bad_backends import good
from fakes.generated_backends import backends
from mimic_operator.resource.backend import Backend, parse
from mimic_operator.resource.config import Config
from mimic_operator.resource.container import ProxyDefaults
from mimic_operator.resource.revision import (
    StoredRevision,
    config_for,
    needs_restart,
    revision_of,
    stored_in,
    to_data,
)

DEFAULTS = ProxyDefaults(image="mimic:0.1.0")
MOVED = {"chat": {"url": "https://moved.example/v1"}}


def backend(**spec: Any) -> Backend:
    manifest = good("sidecar")
    for section, fields in spec.items():
        before = manifest["spec"].get(section, {})
        manifest["spec"][section] = {**before, **fields} if isinstance(fields, dict) else fields
    return parse(manifest, strict=True)


def kept(made_of: Backend, defaults: ProxyDefaults = DEFAULTS) -> StoredRevision:
    """As it comes back from the API server."""
    data = json.loads(json.dumps(to_data(revision_of(made_of, defaults), made_of.spec)))
    found = stored_in(data, defaults)
    assert found is not None
    return found


def config_of(made_of: Backend) -> Config:
    return revision_of(made_of, DEFAULTS).config


@pytest.mark.parametrize(
    "restart",
    [
        {"proxy": {"image": {"tag": "2"}}},
        {"proxy": {"env": [{"name": "BREAKER_FAILURES", "value": "5"}]}},
        {"proxy": {"telemetry": {"otlpEndpoint": "http://collector:4318"}}},
        {"proxy": {"securityContext": {"runAsUser": 1000}}},
        {"proxy": {"imagePullSecrets": [{"name": "registry"}]}},
        {"injection": {"port": 19000}},
        {"injection": {"readiness": "Token"}},
        {"injection": {"env": {"mode": "Always"}}},
    ],
    ids=str,
)
def test_a_moved_backend_reaches_pods_that_still_wait_for_another_container(restart: dict[str, Any]):
    now = backend(**restart, **MOVED)
    assert config_for(kept(backend()), now) == config_of(now)


@pytest.mark.parametrize(
    "change",
    [
        {"proxy": {"resources": {"limits": {"memory": "1Gi"}}}},
        {"auth": {"secretRef": {"name": "corp-llm-2"}}},
    ],
    ids=["memory", "secret"],
)
def test_memory_and_secrets_that_pods_do_not_have_are_not_counted_on(change: dict[str, Any]):
    assert config_for(kept(backend()), backend(**change, **MOVED)) is None


@pytest.mark.parametrize(
    "change",
    [
        {"auth": {"grant": "ClientCredentials", "clientID": "a"}},
        {"auth": {"secretRef": {"name": "other"}, "tokenURL": "https://other.example/token"}},
        {"tls": {"caBundleFrom": {"configMapKeyRef": {"name": "ca", "key": "ca.crt"}}}},
        {"tls": {"clientCertSecretRef": {"name": "pair"}}},
    ],
    ids=str,
)
def test_pods_keep_their_configuration_where_the_new_one_needs_what_they_do_not_mount(change: dict[str, Any]):
    """Not even the backend's address: a token of the old service is nothing for the new backend."""
    assert config_for(kept(backend()), backend(**change, **MOVED)) is None


def test_sidecars_do_not_get_what_only_a_shared_proxy_can_do():
    shared = good("deployment")
    shared["spec"]["auth"] |= {"singleUse": True}
    shared["spec"]["deployment"] |= {"replicas": 1}
    shared["spec"].pop("injection", None)
    assert config_for(kept(backend()), parse(shared, strict=True)) is None


def test_revisions_of_format_1_get_what_fits_their_pods():
    data = to_data(revision_of(backend(), DEFAULTS), backend().spec)
    before = stored_in({key: value for key, value in data.items() if key != "spec"} | {"format": 1}, DEFAULTS)
    assert before is not None
    assert config_for(before, backend(**MOVED)) == config_of(backend(**MOVED))
    assert config_for(before, backend(auth={"secretRef": {"name": "other"}})) is None
    assert needs_restart(before, backend(**MOVED)) is None


def test_what_cannot_be_read_is_none():
    assert stored_in({}, DEFAULTS) is None
    assert stored_in({"format": 9, "name": "mimic-corp"}, DEFAULTS) is None


def test_another_operators_container_is_no_reason_to_keep_the_configuration_back():
    """It mounts the same; only the image, the probes and the like are of another version."""
    older = kept(backend())
    probes = {**older.revision.container, "livenessProbe": {"httpGet": {"path": "/older", "port": 1}}}
    older = replace(older, revision=replace(older.revision, container=probes, name="mimic-corp-older"))
    assert config_for(older, backend(**MOVED)) == config_of(backend(**MOVED))
    elsewhere = [{**mount, "mountPath": f"/older{mount['mountPath']}"} for mount in probes["volumeMounts"]]
    older = replace(older, revision=replace(older.revision, container={**probes, "volumeMounts": elsewhere}))
    assert config_for(older, backend(**MOVED)) is None


@pytest.mark.parametrize(
    ("change", "restart"), [({}, False), (MOVED, False), ({"proxy": {"image": {"tag": "2"}}}, True)], ids=str
)
def test_tells_a_hot_change_from_one_that_needs_a_restart(change: dict[str, Any], restart: bool):
    assert needs_restart(kept(backend()), backend(**change)) is restart


HOT = ("chat", "embedding", "dialect", "models", "timeouts", "call_limits")
PARTS = (*HOT, "auth", "tls", "proxy", "injection")


@settings(deadline=None, max_examples=40)
@given(before=backends(), after=backends(), parts=st.sets(st.sampled_from(PARTS)))
def test_a_configuration_names_no_file_that_is_not_mounted(before: Backend, after: Backend, parts: set[str]):
    now = replace(before, spec=replace(before.spec, **{name: getattr(after.spec, name) for name in parts}))
    older = kept(before)
    found = config_for(older, now)
    if found is None:
        return
    assert found == config_of(now)
    mounted = tuple(mount["mountPath"] for mount in older.revision.container["volumeMounts"])
    files = [value for name, value in found.items() if name.endswith("_file") or name in ("ca_bundle", "client_cert")]
    assert [path for path in files if not str(path).startswith(mounted)] == []


@settings(deadline=None, max_examples=40)
@given(before=backends(), after=backends(), parts=st.sets(st.sampled_from(HOT), min_size=1))
def test_where_nothing_but_hot_fields_differ_the_configuration_is_that_of_the_new_spec(
    before: Backend, after: Backend, parts: set[str]
):
    mixed = replace(before.spec, **{name: getattr(after.spec, name) for name in parts})
    now = replace(before, spec=mixed)
    whole = revision_of(now, DEFAULTS)
    assert whole.name == revision_of(before, DEFAULTS).name
    assert config_for(kept(before), now) == whole.config
