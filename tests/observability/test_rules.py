"""Rule files of the chart: valid, complete, each alert with what the person who is woken by it needs."""

import re
import subprocess

import pytest
import yaml

from fakes.chart_files import BOARD_FILES, RULE_FILES, RUNBOOKS, alerts, groups, records
from fakes.tools import tool
from mimic_proxy.telemetry.catalogue import CATALOGUE
from observability.objectives import FIRST_CHUNK_SECONDS, INTERVAL_SECONDS, OBJECTIVES, OVERHEAD_SECONDS, PAIRS, WINDOWS
from observability.places import RUNBOOKS_URL

NAMES = sorted({rule["alert"] for rule in alerts()})
SECTIONS = ["Meaning", "Impact", "Diagnosis", "Mitigation"]


def test_promtool_takes_every_file():
    command = [tool("promtool"), "check", "rules", *map(str, RULE_FILES)]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert ended.stdout.count("SUCCESS") == len(RULE_FILES)


@pytest.mark.parametrize("name", ["MimicAbsent", "MimicOperatorAbsent"])
def test_an_alert_for_nobody_at_all_stands_alone(name: str):
    """The chart leaves its file out where nobody is expected."""
    (file,) = (file for file in RULE_FILES if name in file.read_text("utf-8"))
    (group,) = yaml.safe_load(file.read_text("utf-8"))["groups"]
    assert [rule["alert"] for rule in group["rules"]] == [name]


@pytest.mark.parametrize("rule", alerts(), ids=lambda rule: f"{rule['alert']}-{rule['labels']['severity']}")
def test_an_alert_says_what_how_bad_and_where_to_look(rule: dict[str, dict[str, str]]):
    said = rule["annotations"]
    assert re.fullmatch(r"Mimic[A-Z]\w+", str(rule["alert"]))
    assert rule["labels"]["severity"] in ("critical", "warning", "info")
    assert set(said) == {"summary", "description", "runbook_url", "dashboard_uid"}
    assert said["runbook_url"] == f"{RUNBOOKS_URL}/{rule['alert']}.md"
    assert said["dashboard_uid"] in [file.stem for file in BOARD_FILES]
    assert not said["summary"].endswith(".")
    assert len(said["description"]) > len(said["summary"])
    if rule["alert"] not in ("MimicAbsent", "MimicOperatorAbsent"):
        assert "$labels.namespace" in said["summary"]


def test_alerts_of_one_name_differ_in_their_labels():
    """Two firing rules with the same labels are one alert to Alertmanager, which the first to end resolves."""
    seen = [(rule["alert"], tuple(sorted(rule["labels"].items()))) for rule in alerts()]
    assert sorted(set(seen)) == sorted(seen)


def test_groups_and_records_have_names_of_their_own():
    names = [group["name"] for group in groups()]
    assert sorted(set(names)) == sorted(names)
    recorded = [rule["record"] for group in groups() for rule in group["rules"] if "record" in rule]
    assert sorted(set(recorded)) == sorted(recorded)


def test_every_window_of_every_objective_is_recorded():
    assert {objective.ratio(window) for objective in OBJECTIVES for window in WINDOWS} <= set(records())
    assert {window for pair in PAIRS for window in (pair.long, pair.short)} <= set(WINDOWS)


def test_counts_of_long_windows_know_how_often_rates_are_recorded():
    (rates,) = (group for group in groups() if group["name"] == "mimic.rates")
    recorded = {rule.get("record") for rule in rates["rules"]}
    assert {objective.rate(part) for objective in OBJECTIVES for part in ("valid", "bad")} <= recorded
    assert rates["interval"] == f"{INTERVAL_SECONDS}s"


def test_thresholds_are_bounds_of_buckets():
    assert FIRST_CHUNK_SECONDS in CATALOGUE["mimic_stream_time_to_first_chunk_seconds"].bounds
    assert OVERHEAD_SECONDS in CATALOGUE["mimic_overhead_seconds"].bounds


@pytest.mark.parametrize("name", NAMES)
def test_an_alert_has_a_runbook_of_four_sections(name: str):
    text = (RUNBOOKS / f"{name}.md").read_text("utf-8")
    assert text.startswith(f"# {name}\n")
    assert re.findall(r"^## (.+)$", text, re.MULTILINE) == SECTIONS
    for section in re.split(r"^## .+$", text, flags=re.MULTILINE)[1:]:
        assert len(section.split()) > 10


def test_no_runbook_is_without_an_alert_and_the_index_has_all():
    assert sorted(file.stem for file in RUNBOOKS.glob("Mimic*.md")) == NAMES
    index = (RUNBOOKS / "README.md").read_text("utf-8")
    assert sorted(re.findall(r"\[(Mimic\w+)\]\(\1\.md\)", index)) == NAMES


def test_severities_in_the_index_are_those_of_the_rules():
    index = (RUNBOOKS / "README.md").read_text("utf-8")
    for name in NAMES:
        (told,) = re.findall(rf"^\| \[{name}\]\(\S+\) \| ([^|]+) \|", index, re.MULTILINE)
        severities = {rule["labels"]["severity"] for rule in alerts() if rule["alert"] == name}
        assert set(told.strip().split(", ")) == severities, name
