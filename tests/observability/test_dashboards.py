"""Dashboards of the chart: the rules of Grafana's dashboard-linter, and what an on-call engineer needs besides."""

import itertools
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from fakes.chart_files import (
    BOARD_FILES,
    EVERYTHING,
    MINUTE,
    OPERATOR_BOARD,
    RUNBOOKS,
    board,
    panels,
    runbook_queries,
    substituted,
    targets,
)
from fakes.promql import Selector, read
from fakes.tools import tool
from mimic_proxy.telemetry.catalogue import CLOSED, DURATIONS
from observability import culprits
from observability.__main__ import main, stale, wanted
from observability.objectives import VALID
from observability.promql import OPERATOR_SCRAPE, RECORDED, SCRAPE
from observability.variables import SLO_CHOICES

UIDS = ["mimic-operator", "mimic-overview", "mimic-streams", "mimic-tokens"]
SOURCE = {"type": "prometheus", "uid": "${datasource}"}
files = pytest.mark.parametrize("file", BOARD_FILES, ids=lambda file: file.stem)
PROXY_BOARDS = [file for file in BOARD_FILES if file.stem != OPERATOR_BOARD]


def rows(document: dict[str, Any]) -> list[dict[str, Any]]:
    return [panel for panel in document["panels"] if panel["type"] == "row"]


def test_what_is_built_is_what_lies_there(capsys: pytest.CaptureFixture[str]):
    assert stale(wanted()) == []
    assert main(["--check"]) == 0
    assert capsys.readouterr().out == ""


def test_there_are_four_boards_of_stable_uids():
    assert [file.stem for file in BOARD_FILES] == UIDS
    assert [board(file)["uid"] for file in BOARD_FILES] == UIDS


@files
def test_a_board_is_titled_uneditable_and_linked(file: Path):
    document = board(file)
    assert document["title"].startswith("Mimic / ")
    assert document["description"]
    assert document["editable"] is False
    assert document["tags"] == ["mimic"]
    assert document["graphTooltip"] == 1
    to_boards, to_runbooks = document["links"]
    assert (to_boards["type"], to_boards["tags"]) == ("dashboards", ["mimic"])
    assert to_boards["includeVars"]
    assert to_boards["keepTime"]
    assert to_runbooks["url"].endswith("/README.md")


def variables_of(file: Path) -> dict[str, Any]:
    return {variable["name"]: variable for variable in board(file)["templating"]["list"]}


@files
def test_variables_are_those_of_the_scrape_and_ask_the_chosen_source(file: Path):
    variables = variables_of(file)
    assert (variables["datasource"]["type"], variables["datasource"]["query"]) == ("datasource", "prometheus")
    for name, variable in variables.items():
        if name in ("datasource", "slo_ttfc"):
            continue
        assert variable["datasource"] == SOURCE
        assert (variable["type"], variable["multi"], variable["includeAll"]) == ("query", True, True)
        assert variable["allValue"] == ".*"
        assert variable["refresh"] == 2


@pytest.mark.parametrize("file", PROXY_BOARDS, ids=lambda file: file.stem)
def test_boards_of_the_proxies_choose_what_callers_asked_for_too(file: Path):
    variables = variables_of(file)
    assert list(variables) == ["datasource", "namespace", "job", "pod", "operation", "model", "slo_ttfc"]
    assert variables["job"]["current"]["value"] == ["mimic"]
    assert variables["slo_ttfc"]["current"]["value"] == "5.12"
    assert [float(choice) for choice in variables["slo_ttfc"]["query"].split(",")] == list(SLO_CHOICES)
    assert set(SLO_CHOICES) <= set(DURATIONS)


def test_the_board_of_the_operator_is_not_narrowed_by_what_a_link_from_the_others_brings():
    """Links pass variables on by their names, and the operator runs elsewhere under another job."""
    (file,) = (file for file in BOARD_FILES if file.stem == OPERATOR_BOARD)
    variables = variables_of(file)
    assert list(variables) == ["datasource", "operator_namespace", "operator_job", "operator_pod"]
    assert variables["operator_job"]["current"]["value"] == ["mimic-operator"]
    assert not set(variables) & set(variables_of(PROXY_BOARDS[0])) - {"datasource"}


@files
def test_panels_say_what_they_show_and_what_a_high_value_means(file: Path):
    for panel in panels(board(file)):
        assert panel["title"], panel
        assert len(panel["description"]) > 20, panel["title"]
        assert panel["description"].endswith("."), panel["title"]
        assert panel["fieldConfig"]["defaults"]["unit"], panel["title"]
        assert panel["fieldConfig"]["defaults"]["noValue"], panel["title"]
        assert panel["datasource"] == SOURCE, panel["title"]
        assert panel["targets"], panel["title"]
        assert all(target["datasource"] == SOURCE for target in panel["targets"]), panel["title"]
        refs = [target["refId"] for target in panel["targets"]]
        assert len(set(refs)) == len(refs), panel["title"]


@files
def test_panels_of_several_lines_name_each(file: Path):
    for panel in panels(board(file)):
        if panel["type"] == "timeseries":
            legends = [target["legendFormat"] for target in panel["targets"]]
            assert "__auto" not in legends, panel["title"]
            assert len(set(legends)) == len(legends), panel["title"]


@files
def test_titles_and_ids_are_there_once(file: Path):
    document = board(file)
    shown = [*panels(document), *rows(document)]
    titles = [panel["title"] for panel in shown]
    numbers = [panel["id"] for panel in shown]
    assert sorted(set(titles)) == sorted(titles)
    assert sorted(set(numbers)) == sorted(numbers)


def cells(panel: dict[str, Any]) -> set[tuple[int, int]]:
    place = panel["gridPos"]
    assert place["x"] + place["w"] <= 24, panel["title"]
    across, down = range(place["x"], place["x"] + place["w"]), range(place["y"], place["y"] + place["h"])
    return set(itertools.product(across, down))


@files
def test_nothing_lies_on_anything_and_no_line_has_a_hole(file: Path):
    document = board(file)
    taken: set[tuple[int, int]] = set()
    for panel in document["panels"]:
        assert not taken & cells(panel), panel["title"]
        taken |= cells(panel)
    height = max(y for _, y in taken) + 1
    assert len(taken) == 24 * height
    for row in rows(document):
        assert row["collapsed"] is bool(row.get("panels"))
        inside: set[tuple[int, int]] = set()
        for panel in row.get("panels") or []:
            assert not inside & cells(panel), panel["title"]
            assert panel["gridPos"]["y"] > row["gridPos"]["y"], panel["title"]
            inside |= cells(panel)


def bound(selector: Selector, file: str) -> bool:
    """It is narrowed by the variables of its board."""
    wanted = OPERATOR_SCRAPE if file == OPERATOR_BOARD else RECORDED if ":" in selector.metric else SCRAPE
    return set(wanted.split(",")) <= {f'{found.label}{found.operator}"{found.value}"' for found in selector.matchers}


def test_every_selector_is_bound_to_the_chosen_pods():
    free = [
        (str(target), selector.metric)
        for target in targets()
        for selector in read(target.expr).selectors
        if selector.metric != "ALERTS" and not bound(selector, target.board)
    ]
    assert free == []


def test_time_ranges_are_grafanas():
    fixed = [
        (str(target), found)
        for target in targets()
        for found in read(target.expr).ranges
        if found != "$__rate_interval"
        and not (target.instant and found == "$__range")
        and not (found == "30d" and ":" in target.expr)
    ]
    assert fixed == []


def test_quantiles_keep_the_buckets_apart():
    """By `le`, or there is nothing to take a quantile of."""
    quantiles = [target.expr for target in targets() if "histogram_quantile(" in target.expr]
    assert quantiles
    assert [expr for expr in quantiles if not re.search(r"histogram_quantile\([\d.]+, sum by \(le[,)]", expr)] == []


def test_every_expression_is_valid_those_of_the_runbooks_too(tmp_path: Path):
    """promtool parses rules, so each expression is made one."""
    values = {**EVERYTHING, **MINUTE}
    annotations = [found["expr"] for file in BOARD_FILES for found in board(file)["annotations"]["list"]]
    exprs = [substituted(expr, values) for expr in [*(target.expr for target in targets()), *annotations]]
    exprs += [expr for file in sorted(RUNBOOKS.glob("*.md")) for expr in runbook_queries(file)]
    rules = [{"record": f"expression:{at}", "expr": expr} for at, expr in enumerate(exprs)]
    file = tmp_path / "expressions.yaml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "expressions", "rules": rules}]}))
    command = [tool("promtool"), "check", "rules", "--lint=none", str(file)]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert f"{len(exprs)} rules found" in ended.stdout


def test_lines_of_durations_and_first_chunks_show_sampled_traces():
    shown = {
        panel["title"]: all(target["exemplar"] for target in panel["targets"])
        for file in BOARD_FILES
        for panel in panels(board(file))
        if panel["type"] == "timeseries" and panel["title"] in ("Duration", "First content", "Duration by outcome, p95")
    }
    assert shown == {"Duration": True, "First content": True, "Duration by outcome, p95": True}


@files
def test_marks_on_the_time_axis_have_a_title(file: Path):
    for found in board(file)["annotations"]["list"]:
        assert found["datasource"] == SOURCE
        assert "{{" in found["titleFormat"]
        assert found["enable"]
        for selector in read(found["expr"]).selectors:
            assert len(selector.matchers) >= 3, found["name"]


def test_every_outcome_has_a_culprit():
    blamed = [*culprits.MIMIC, *culprits.TOKEN_SERVICE, *culprits.BACKEND, *culprits.CALLERS, *culprits.RESTART]
    assert sorted([*blamed, "completed"]) == sorted(CLOSED["outcome"])
    assert {*culprits.MIMIC, *culprits.TOKEN_SERVICE, *culprits.BACKEND, "completed"} == set(VALID)


AGES = tuple(
    f"mimic_token_{age}"
    for age in ("issued_timestamp_", "lifetime_", "refresh_margin_", "consecutive_failures", "expiry_timestamp_")
)


def test_what_is_about_a_tokens_age_looks_only_at_pods_with_a_token_service():
    unguarded = [
        str(target)
        for target in targets()
        if any(age in target.expr for age in AGES) and "mimic_token_required" not in target.expr
    ]
    assert unguarded == []
