"""Grafana's JSON of a dashboard, by grafana-foundation-sdk."""

import json
from collections.abc import Sequence
from typing import Any

from grafana_foundation_sdk.builders import common, dashboard, heatmap, prometheus, table, timeseries
from grafana_foundation_sdk.builders import stat as stats
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models import common as looks
from grafana_foundation_sdk.models import dashboard as models
from grafana_foundation_sdk.models.heatmap import HeatmapColorMode
from grafana_foundation_sdk.models.prometheus import PromQueryFormat

from observability.panels import Dashboard, Panel, Place, Query, Row, arranged
from observability.places import RUNBOOKS_URL
from observability.variables import ANNOTATIONS, VARIABLES

SOURCE = models.DataSourceRef(type_val="prometheus", uid="${datasource}")
TAG = "mimic"
"""Dashboards with it are linked to each other."""


def rendered(board: Dashboard) -> str:
    """The file of a dashboard."""
    builder = (
        dashboard.Dashboard(board.title)
        .uid(board.uid)
        .description(board.description)
        .tags([TAG])
        .readonly()
        .tooltip(models.DashboardCursorSync.CROSSHAIR)
        .time("now-3h", "now")
        .refresh("30s")
        .timezone("browser")
        .variables(VARIABLES[board.about]())
        .link(
            dashboard.DashboardLink("Mimic")
            .type(models.DashboardLinkType.DASHBOARDS)
            .tags([TAG])
            .include_vars(True)
            .keep_time(True)
        )
        .link(
            dashboard.DashboardLink("Runbooks")
            .type(models.DashboardLinkType.LINK)
            .url(f"{RUNBOOKS_URL}/README.md")
            .target_blank(True)
        )
    )
    top, number = 0, 1
    for row in board.rows:
        top, number = _add_row(builder, row, top, number)
    document: dict[str, Any] = json.loads(JSONEncoder(sort_keys=True).encode(builder.build()))
    document["annotations"] = {"list": [_annotation(*parts) for parts in ANNOTATIONS[board.about]]}
    return json.dumps(document, indent=2, sort_keys=True) + "\n"


def _add_row(builder: dashboard.Dashboard, row: Row, top: int, number: int) -> tuple[int, int]:
    """Adds a row at a height, with ids from a number on; the next of both."""
    heading = dashboard.Row(row.title).id(number).collapsed(row.collapsed).grid_pos(_grid(Place(0, top, 24, 1)))
    places, below = arranged(row.panels, top + 1)
    numbered = zip(row.panels, places, range(number + 1, number + 1 + len(places)), strict=True)
    made = [_panel(*each) for each in numbered]
    if row.collapsed:
        # Grafana keeps the panels of a collapsed row inside of it, and they take no room.
        for panel in made:
            heading.with_panel(panel)
        below = top + 1
    builder.with_row(heading)
    if not row.collapsed:
        for panel in made:
            builder.with_panel(panel)
    return below, number + 1 + len(made)


def _grid(place: Place) -> models.GridPos:
    return models.GridPos(x=place.x, y=place.y, w=place.w, h=place.h)


def _panel(panel: Panel, place: Place, number: int) -> Any:
    """The builder of one panel; those of the SDK share methods but no type."""
    builder: Any = {"lines": _lines, "stat": _stat, "heatmap": _heatmap, "table": _table}[panel.kind](panel)
    builder.id(number).grid_pos(_grid(place)).title(panel.title).description(panel.description).datasource(SOURCE)
    builder.unit(panel.unit).no_value(panel.no_value)
    for at, query in enumerate(panel.queries):
        builder.with_target(_target(query, panel, "ABCDEFGHIJ"[at]))
    if panel.at_least is not None:
        builder.min(panel.at_least)
    if panel.at_most is not None:
        builder.max(panel.at_most)
    if panel.decimals is not None:
        builder.decimals(panel.decimals)
    if panel.texts:
        shown = {value: models.ValueMappingResult(text=text) for value, text in panel.texts.items()}
        builder.mappings([models.ValueMap(options=shown)])
    steps = [models.Threshold(value=value, color=colour) for value, colour in panel.thresholds]
    builder.thresholds(dashboard.ThresholdsConfig().mode(models.ThresholdsMode.ABSOLUTE).steps(steps))
    for pattern, colour in panel.colours.items():
        fixed = models.DynamicConfigValue(id_val="color", value={"mode": "fixed", "fixedColor": colour})
        builder.override_by_regexp(pattern, [fixed])
    return builder


def _target(query: Query, panel: Panel, ref: str) -> prometheus.Dataquery:
    target = prometheus.Dataquery().expr(query.expr).legend_format(query.legend).ref_id(ref).datasource(SOURCE)
    if panel.kind in ("stat", "table"):
        target.instant()
    else:
        target.range().exemplar(query.exemplar)
    formats = {"table": PromQueryFormat.TABLE, "heatmap": PromQueryFormat.HEATMAP}
    return target.format(formats.get(panel.kind, PromQueryFormat.TIME_SERIES))


def _lines(panel: Panel) -> timeseries.Panel:
    legend = common.VizLegendOptions().show_legend(True).placement(looks.LegendPlacement.BOTTOM)
    if len(panel.queries) > 1 or panel.stacked:
        legend.display_mode(looks.LegendDisplayMode.TABLE).calcs(["lastNotNull", "max"])
    else:
        legend.display_mode(looks.LegendDisplayMode.LIST)
    builder = (
        timeseries.Panel()
        .legend(legend)
        .tooltip(common.VizTooltipOptions().mode(looks.TooltipDisplayMode.MULTI).sort(looks.SortOrder.DESCENDING))
        .draw_style(looks.GraphDrawStyle.LINE)
        .line_width(1)
        .fill_opacity(50 if panel.stacked else 8)
        .show_points(looks.VisibilityMode.AUTO)
        .span_nulls(False)
    )
    if panel.stacked:
        builder.stacking(common.StackingConfig().mode(looks.StackingMode.NORMAL).group("A"))
    if panel.log:
        builder.scale_distribution(common.ScaleDistributionConfig().type(looks.ScaleDistribution.LOG).log(10))
    if len(panel.thresholds) > 1:
        builder.thresholds_style(common.GraphThresholdsStyleConfig().mode(looks.GraphTresholdsStyleMode.DASHED))
    return builder


def _stat(panel: Panel) -> stats.Panel:
    return (
        stats.Panel()
        .graph_mode(looks.BigValueGraphMode.NONE)
        .color_mode(looks.BigValueColorMode.BACKGROUND)
        .text_mode(looks.BigValueTextMode.AUTO)
        .reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]).values(False))
    )


def _heatmap(panel: Panel) -> heatmap.Panel:
    colours = heatmap.HeatmapColorOptions().mode(HeatmapColorMode.SCHEME).scheme("Oranges").steps(64)
    return (
        heatmap.Panel()
        .calculate(False)
        .color(colours)
        .y_axis(heatmap.YAxisConfig().unit(panel.unit))
        .cell_values(heatmap.CellValues().unit("short"))
        .show_legend()
        .show_tooltip()
    )


def _table(panel: Panel) -> table.Panel:
    assert len(panel.columns) == len(panel.queries)
    names = [f"Value #{'ABCDEFGHIJ'[at]}" if len(panel.queries) > 1 else "Value" for at in range(len(panel.columns))]
    builder = (
        table.Panel()
        .with_transformation(models.DataTransformerConfig(id_val="merge", options={}))
        .with_transformation(
            models.DataTransformerConfig(
                id_val="organize",
                options={
                    "excludeByName": {"Time": True},
                    "renameByName": dict(zip(names, (column.title for column in panel.columns), strict=True)),
                },
            )
        )
    )
    for column in panel.columns:
        builder.override_by_name(column.title, [models.DynamicConfigValue(id_val="unit", value=column.unit)])
    return builder


def _annotation(name: str, expr: str, title: str, colour: str) -> dict[str, object]:
    """The SDK's knows no title."""
    return {
        "name": name,
        "datasource": {"type": "prometheus", "uid": "${datasource}"},
        "enable": True,
        "hide": False,
        "iconColor": colour,
        "expr": expr,
        "titleFormat": title,
        "step": "60s",
    }


def places(panels: Sequence[dict[str, Any]]) -> list[Place]:
    """Where the panels of a rendered dashboard stand."""
    return [Place(**panel["gridPos"]) for panel in panels]
