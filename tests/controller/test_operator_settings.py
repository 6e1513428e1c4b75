"""The operator's environment: read once, refused with all that is wrong."""

from pathlib import Path

import pytest

from mimic_operator.errors import SettingsError
from mimic_operator.settings import AT_A_CLUSTER, Settings, load


def test_nothing_set_gives_the_defaults():
    assert load({}) == Settings()
    assert load({"LOG_LEVEL": "", "UNRELATED": "x"}) == Settings()


def test_reads_every_kind_of_value():
    found = load(
        {
            "MIMIC_IMAGE": "r/mimic:1",
            "MIMIC_NAMESPACE": "mimic-system",
            "WATCH_NAMESPACES": "a, b,a",
            "PROXY_REQUESTS": "cpu=10m, memory=64Mi",
            "WEBHOOK_CERT_DIR": "/tls",
            "CERT_MODE": "certmanager",
            "MAX_CONCURRENT_ROLLOUTS": "9",
            "ROLLOUT_ON_UPGRADE": "True",
            "LOG_LEVEL": "debug",
        },
        needed=AT_A_CLUSTER,
    )
    assert found.watch_namespaces == ("a", "b")
    assert found.proxy_requests == {"cpu": "10m", "memory": "64Mi"}
    assert found.webhook_cert_dir == Path("/tls")
    assert (found.cert_mode, found.log_level) == ("certManager", "DEBUG")
    assert (found.max_concurrent_rollouts, found.rollout_on_upgrade) == (9, True)


@pytest.mark.parametrize(
    ("name", "value", "sentence"),
    [
        ("WEBHOOK_PORT", "70000", "must be a whole number from 0 to 65535"),
        ("METRICS_PORT", "-1", "must be a whole number from 0 to 65535"),
        ("METRICS_PORT", "٣", "must be a whole number from 0 to 65535"),
        ("CERT_MODE", "manual", "must be one of self, certManager, external"),
        ("ROLLOUT_ON_UPGRADE", "maybe", "must be true or false"),
        ("MAX_CONCURRENT_ROLLOUTS", "0", "must be a whole number from 1 to 1000"),
        ("PROXY_REQUESTS", "cpu", "must be amounts by resource, as in cpu=25m,memory=96Mi"),
        ("PROXY_REQUESTS", "cpu=lots", "must be amounts by resource, as in cpu=25m,memory=96Mi"),
        ("PROXY_LIMITS", "cpu=1", "must limit memory too, as in memory=256Mi: buffers are measured by it"),
        ("LOG_FORMAT", "xml", "must be one of json, console"),
    ],
)
def test_refuses_a_wrong_value_by_its_variable(name: str, value: str, sentence: str):
    with pytest.raises(SettingsError) as refused:
        load({name: value})
    assert refused.value.problems == ((name, sentence),)


def test_tells_all_problems_at_once_and_no_value():
    with pytest.raises(SettingsError) as refused:
        load({"CERT_MODE": "planted", "LOG_LEVEL": "planted"}, needed=AT_A_CLUSTER)
    assert [name for name, _ in refused.value.problems] == ["CERT_MODE", "LOG_LEVEL", "MIMIC_IMAGE", "MIMIC_NAMESPACE"]
    assert "planted" not in str(refused.value)
