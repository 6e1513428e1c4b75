"""Dashboards as data, before they become Grafana's."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from observability.places import Board

Kind = Literal["lines", "stat", "heatmap", "table"]
GREEN, YELLOW, ORANGE, RED, BLUE, PURPLE, GREY = "green", "yellow", "orange", "red", "blue", "purple", "text"
Thresholds = tuple[tuple[float | None, str], ...]
"""From each value on a colour; the first has no value."""
NO_REQUESTS = "no requests"


@dataclass(frozen=True, slots=True)
class Query:
    """One query; legend is Grafana's template. exemplar: show sampled traces beside the line."""

    expr: str
    legend: str = "__auto"
    exemplar: bool = False


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table: the value of the query of the same place."""

    title: str
    unit: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Panel:
    """One panel. Stats and tables show this moment, lines and heatmaps the time range.

    width: of 24. texts: words for values. colours: of series, by a regular expression on their name.
    """

    title: str
    description: str
    queries: tuple[Query, ...]
    unit: str
    kind: Kind = "lines"
    width: int = 8
    height: int = 8
    stacked: bool = False
    log: bool = False
    at_least: float | None = 0
    at_most: float | None = None
    decimals: int | None = None
    thresholds: Thresholds = ((None, GREEN),)
    texts: Mapping[str, str] = field(default_factory=dict)
    no_value: str = "-"
    colours: Mapping[str, str] = field(default_factory=dict)
    columns: tuple[Column, ...] = ()
    named_by: str = ""
    """Of a table: the label that its rows are named by."""


def stat(title: str, expr: str, description: str, unit: str, thresholds: Thresholds, no_value: str) -> Panel:
    """One number, in the colour of what it means."""
    return Panel(
        title=title,
        description=description,
        queries=(Query(expr),),
        unit=unit,
        kind="stat",
        width=4,
        height=4,
        at_least=None,
        thresholds=thresholds,
        no_value=no_value,
    )


@dataclass(frozen=True, slots=True)
class Row:
    """Panels under one heading."""

    title: str
    panels: tuple[Panel, ...]
    collapsed: bool = False


@dataclass(frozen=True, slots=True)
class Dashboard:
    """One dashboard."""

    uid: Board
    title: str
    description: str
    rows: tuple[Row, ...]
    about: Literal["proxies", "operator"] = "proxies"
    """Whose pods are chosen from, and what is marked on the time axis."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where something stands in Grafana's grid of 24 columns."""

    x: int
    y: int
    w: int
    h: int


COLUMNS = 24


def arranged(panels: tuple[Panel, ...], top: int) -> tuple[list[Place], int]:
    """Places of panels, left to right and line by line, and where the next row begins."""
    places: list[Place] = []
    x, y, tallest = 0, top, 0
    for panel in panels:
        if x + panel.width > COLUMNS:
            x, y, tallest = 0, y + tallest, 0
        places.append(Place(x, y, panel.width, panel.height))
        x, tallest = x + panel.width, max(tallest, panel.height)
    return places, y + tallest
