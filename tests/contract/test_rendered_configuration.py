"""What the operator writes for the proxy is what the proxy reads: the two packages meet here alone."""

import re
import tempfile
from pathlib import Path
from urllib.parse import parse_qsl

import pytest
from hypothesis import HealthCheck, given, settings

from fakes.generated_backends import backends
from fakes.kubernetes_examples import EXAMPLES, backend_in
from mimic_operator.resource import mounts
from mimic_operator.resource.backend import Backend
from mimic_operator.resource.config import config_of
from mimic_operator.resource.container import ProxyDefaults
from mimic_operator.resource.revision import Revision, revision_of
from mimic_operator.resource.spec.proxy import OWNED, VALUES, is_owned
from mimic_proxy.settings.fields import NAMES, Settings, SettingsError, load
from mimic_proxy.tokens.grants import choose

DEFAULTS = ProxyDefaults(image="registry.example.com/mimic:0.1.0")
MOUNTED = (mounts.CA, mounts.CLIENT_CERT, f"{mounts.CONFIG}/{mounts.CA_FILE}")


def read_by_proxy(revision: Revision) -> Settings:
    """As the proxy in the container reads it: with the container's environment, the mounted files in their mounts."""
    environ = {entry["name"]: entry.get("value", "of the Secret") for entry in revision.container["env"]}
    with tempfile.NamedTemporaryFile("w", suffix=".yaml", encoding="utf-8") as file:
        file.write(revision.config_text)
        file.flush()
        environ["MIMIC_CONFIG"] = file.name
        return load(environ, is_file=lambda path: str(path).startswith(MOUNTED))


def assert_accepted(backend: Backend) -> Settings:
    found = read_by_proxy(revision_of(backend, DEFAULTS))
    assert [warning for warning in found.warnings if "no setting" in warning] == []
    return found


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
def test_proxy_accepts_every_example_without_a_warning(example: Path):
    backend = backend_in(example)
    found = assert_accepted(backend)
    allowed = {"VERIFY_SSL"} if backend.tls.insecure_skip_verify else set()
    if found.client_keys is None:
        # A Service without client keys is open to all who reach it: that is chosen, and told in the log.
        allowed.add("HOST=0.0.0.0,::")
    assert [warning for warning in found.warnings if not warning.startswith(tuple(allowed))] == []


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(backend=backends())
def test_proxy_accepts_what_is_rendered_for_any_backend(backend: Backend):
    found = assert_accepted(backend)
    assert found.chat_api_url == backend.chat.url
    assert found.grant.replace("_", "") == backend.auth.grant.lower()


LEFT_TO_THE_USER = {"MAX_BUFFERED_BYTES"}
"""Rendered, and no field of the resource: `proxy.env` may say something else."""


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(backend=backends())
def test_no_variable_of_a_resource_can_say_something_else_than_its_fields(backend: Backend):
    rendered = {name.upper() for name in config_of(backend, memory_limit="256Mi")}
    own = {entry["name"] for entry in revision_of(backend, DEFAULTS).container["env"]}
    own -= {entry.name for entry in backend.proxy.env}
    assert [name for name in (rendered | own) - LEFT_TO_THE_USER if not is_owned(name)] == []


def test_a_pod_without_any_secret_shows_its_identity_to_the_token_service():
    found = assert_accepted(backend_in(next(path for path in EXAMPLES if path.stem == "workload-identity")))
    assert found.client_secret is not None
    assert str(found.client_secret.file) == f"{mounts.IDENTITY}/{mounts.IDENTITY_FILE}"
    recipe = choose(found).recipe
    assert recipe is not None
    assert dict(parse_qsl(recipe.request("of the pod").body.decode())) == {
        "grant_type": "client_credentials",
        "client_id": "22222222-2222-2222-2222-222222222222",
        "client_assertion_type": "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
        "client_assertion": "of the pod",
        "scope": "https://cognitiveservices.azure.com/.default",
    }


def test_no_variable_of_a_resource_can_bring_a_secret_into_the_open():
    assert {*NAMES.secrets, *(f"{name}_FILE" for name in NAMES.secrets)} <= set(OWNED)


def test_no_setting_of_the_proxy_that_the_operator_names_is_unknown():
    known = {name.lower() for name in NAMES.all}
    for example in EXAMPLES:
        config = config_of(backend_in(example), memory_limit="256Mi")
        assert set(config) <= known, example.stem


def test_configuration_holds_no_secret_but_only_where_it_is():
    for example in EXAMPLES:
        config = config_of(backend_in(example), memory_limit="256Mi")
        secrets = {name.lower() for name in NAMES.secrets}
        assert secrets.isdisjoint(config), example.stem
        for name in secrets & {key.removesuffix("_file") for key in config}:
            assert re.match(r"/(etc|var/run)/", config[f"{name}_file"])


def test_the_values_of_variables_are_checked_as_the_proxy_reads_them():
    given = {"CHAT_API_URL": "https://a", "EMBEDDING_API_URL": "https://a", "GRANT": "none"}
    load(given)
    assert {name for names, _ in VALUES for name in names} <= {name for name in NAMES.all if not is_owned(name)}
    for names, match in VALUES:
        for name in names:
            for value in ("100000000", "0.5", "true", "False", "10s", "sometimes", "-1", "1e3"):
                try:
                    load({**given, name: value})
                except SettingsError:
                    assert not match.allows(value), (name, value)
