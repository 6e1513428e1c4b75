"""Monitors, rules and dashboards: what a Prometheus operator and a Grafana find in the cluster."""

import json

import pytest

from fakes.chart_files import BOARD_FILES, groups
from fakes.helm import Rendering, of_kind, render
from mimic_operator.resource import container, naming
from observability.operator_alerts import PROCESSES
from observability.places import OPERATOR_JOB

PROMETHEUS = Rendering(capabilities=["monitoring.coreos.com/v1"])
KINDS = ("PodMonitor", "ServiceMonitor", "PrometheusRule", "ConfigMap")


def test_they_are_there_where_the_cluster_knows_them():
    assert list(of_kind(render(), *KINDS)) == []
    assert {manifest["kind"] for manifest in of_kind(render(PROMETHEUS), *KINDS)} == set(KINDS)
    choices = ("podMonitor", "serviceMonitor", "rules", "dashboards")
    off = {f"monitoring.{choice}": "false" for choice in choices}
    assert list(of_kind(render(Rendering(sets=off, capabilities=PROMETHEUS.capabilities)), *KINDS)) == []
    on = dict.fromkeys(off, "true")
    assert {manifest["kind"] for manifest in of_kind(render(Rendering(sets=on)), *KINDS)} == set(KINDS)


def test_the_rules_are_those_of_the_folder_with_runbooks_where_they_are():
    where = "https://runbooks.example.com/mimic"
    sets = {"monitoring.runbookURL": f'"{where}/"', "monitoring.expectMimic": "true"}
    rendering = Rendering(sets=sets, capabilities=PROMETHEUS.capabilities)
    (rule,) = of_kind(render(rendering), "PrometheusRule")
    written = json.dumps(groups()).replace("https://mimic.example.com/docs/runbooks", where)
    assert rule["spec"]["groups"] == json.loads(written)


def test_no_mimic_at_all_is_an_alert_only_where_one_is_expected():
    (rule,) = of_kind(render(PROMETHEUS), "PrometheusRule")
    alerts = [entry.get("alert") for group in rule["spec"]["groups"] for entry in group["rules"]]
    assert "MimicTokenExpired" in alerts
    assert "MimicAbsent" not in alerts


@pytest.mark.parametrize(("scraped", "missed"), [('"auto"', True), ("true", True), ("false", False)])
def test_no_operator_is_an_alert_only_where_it_is_scraped(scraped: str, missed: bool):
    sets = {"monitoring.serviceMonitor": scraped}
    (rule,) = of_kind(render(Rendering(sets=sets, capabilities=PROMETHEUS.capabilities)), "PrometheusRule")
    alerts = [entry.get("alert") for group in rule["spec"]["groups"] for entry in group["rules"]]
    assert ("MimicOperatorAbsent" in alerts) is missed
    assert "MimicOperatorNoLeader" in alerts


def test_a_collector_is_let_through_where_the_way_out_is_closed():
    closed = {"networkPolicy.enabled": "true", "networkPolicy.egress.enabled": "true"}
    for ports, wanted in (("[]", 0), ("[4318]", 2)):
        sets = {**closed, "networkPolicy.egress.collectorPorts": ports}
        policies = list(of_kind(render(Rendering(sets=sets)), "NetworkPolicy"))
        out = [rule for each in policies for rule in each["spec"].get("egress", ())]
        assert [rule for rule in out if "to" in rule and {"port": 4318, "protocol": "TCP"} in rule["ports"]] == []
        assert len([rule for rule in out if rule["ports"] == [{"port": 4318, "protocol": "TCP"}]]) == wanted


def test_the_operator_is_scraped_as_the_job_and_the_components_of_its_rules():
    (monitor,) = of_kind(render(PROMETHEUS), "ServiceMonitor")
    (endpoint,) = monitor["spec"]["endpoints"]
    (which,) = monitor["spec"]["selector"]["matchExpressions"]
    job, component = endpoint["relabelings"]
    assert (job["targetLabel"], job["replacement"]) == ("job", OPERATOR_JOB)
    assert component["targetLabel"] == "component"
    assert sorted(which["values"]) == sorted(PROCESSES)


def test_the_dashboards_are_those_of_the_folder_byte_by_byte():
    found = {
        file: text
        for manifest in of_kind(render(PROMETHEUS), "ConfigMap")
        for file, text in manifest["data"].items()
        if manifest["metadata"]["labels"]["grafana_dashboard"] == "1"
    }
    assert found == {file.name: file.read_text("utf-8") for file in BOARD_FILES}


def test_sidecars_are_scraped_by_the_name_of_their_port_as_the_job_of_the_rules():
    (monitor,) = of_kind(render(PROMETHEUS), "PodMonitor")
    (endpoint,) = monitor["spec"]["podMetricsEndpoints"]
    assert endpoint["port"] == container.ADMIN_PORT_NAME
    assert {"targetLabel": "job", "replacement": "mimic"} in endpoint["relabelings"]
    assert monitor["spec"]["selector"] == {
        "matchExpressions": [{"key": naming.LABEL_COMPONENT, "operator": "DoesNotExist"}]
    }
    assert monitor["spec"]["namespaceSelector"] == {"any": True}
