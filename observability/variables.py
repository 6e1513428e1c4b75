"""What is chosen at the top of each dashboard, and what is marked on its time axis."""

from collections.abc import Callable, Mapping

from grafana_foundation_sdk.builders import dashboard
from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.models import dashboard as models

from mimic_operator.catalogue import BUILD, LEADER, ROLLOUTS
from mimic_proxy.telemetry.catalogue import DURATIONS
from observability.objectives import FIRST_CHUNK_SECONDS
from observability.places import JOB, OPERATOR_JOB
from observability.promql import OPERATOR, PROXIES, Scope, pick

SLO_CHOICES = tuple(bound for bound in DURATIONS if 0.5 < bound < 50)
"""Only bounds of buckets can be counted exactly."""
EVERYTHING = ".*"
"""Matches series without the label too: a Prometheus on a laptop knows neither namespace nor pod."""
_OPENED = pick("mimic_breaker_transitions_total", 'target="backend"', 'to="open"')
Annotation = tuple[str, str, str, str]
"""Name, expression, title and colour."""


def _life(scope: Scope, build: str) -> tuple[Annotation, ...]:
    """Starts and new versions. build: the metric that knows them."""
    versions = f"count by (version) ({scope.pick(build)})"
    return (
        (
            "Process started",
            f"changes({scope.pick('process_start_time_seconds')}[$__rate_interval]) > 0",
            "{{pod}} started again",
            "orange",
        ),
        (
            "New version",
            f"{versions} unless count by (version) ({scope.pick(build)} offset $__rate_interval)",
            "Version {{version}} appeared",
            "purple",
        ),
    )


_PROXIES: tuple[Annotation, ...] = (
    (
        "Configuration read",
        f"changes({pick('mimic_config_last_reload_timestamp_seconds')}[$__rate_interval]) > 0",
        "{{pod}} read its configuration again",
        "blue",
    ),
    *_life(PROXIES, "mimic_build_info"),
    (
        "Breaker opened",
        f"increase({_OPENED}[$__rate_interval]) > 0",
        "{{pod}} gives the backend a pause",
        "red",
    ),
)
_HALTED = OPERATOR.pick(ROLLOUTS.name, 'result="halted"')
_OPERATOR: tuple[Annotation, ...] = (
    *_life(OPERATOR, BUILD.name),
    (
        "Another leads",
        f"changes({OPERATOR.pick(LEADER.name)}[$__rate_interval]) > 0",
        "{{pod}} leads, or does not any more",
        "blue",
    ),
    (
        "Rollout halted",
        f"increase({_HALTED}[$__rate_interval]) > 0",
        "A rollout was halted; {{pod}} leads",
        "red",
    ),
)
ANNOTATIONS: Mapping[str, tuple[Annotation, ...]] = {"proxies": _PROXIES, "operator": _OPERATOR}


def _of_proxies() -> list[Builder[models.VariableModel]]:
    """Datasource, scrape labels, operation, model, and the limit of the first chunk."""
    scrape = 'namespace=~"$namespace",job=~"$job"'
    return [
        dashboard.DatasourceVariable("datasource").label("Data source").type("prometheus"),
        _query("namespace", "label_values(mimic_build_info, namespace)"),
        _query("job", 'label_values(mimic_build_info{namespace=~"$namespace"}, job)', JOB),
        _query("pod", f"label_values(mimic_build_info{{{scrape}}}, pod)"),
        _query("operation", f"label_values(mimic_requests_total{{{scrape}}}, operation)"),
        _query("model", f"label_values(mimic_model_requests_total{{{scrape}}}, model)"),
        dashboard.CustomVariable("slo_ttfc")
        .label("First chunk within (s)")
        .values(",".join(f"{bound:g}" for bound in SLO_CHOICES))
        .current(
            models.VariableOption(text=f"{FIRST_CHUNK_SECONDS:g}", value=f"{FIRST_CHUNK_SECONDS:g}", selected=True)
        ),
    ]


def _of_operator() -> list[Builder[models.VariableModel]]:
    """Datasource, and the scrape labels of its processes."""
    namespace = 'namespace=~"$operator_namespace"'
    return [
        dashboard.DatasourceVariable("datasource").label("Data source").type("prometheus"),
        _query("operator_namespace", f"label_values({BUILD.name}, namespace)"),
        _query("operator_job", f"label_values({BUILD.name}{{{namespace}}}, job)", OPERATOR_JOB),
        _query("operator_pod", f'label_values({BUILD.name}{{{namespace},job=~"$operator_job"}}, pod)'),
    ]


VARIABLES: Mapping[str, Callable[[], list[Builder[models.VariableModel]]]] = {
    "proxies": _of_proxies,
    "operator": _of_operator,
}


def _query(name: str, query: str, usual: str | None = None) -> dashboard.QueryVariable:
    text, value = (usual, [usual]) if usual else ("All", ["$__all"])
    return (
        dashboard.QueryVariable(name)
        .label(name.removeprefix("operator_").capitalize())
        .query(query)
        .datasource(models.DataSourceRef(type_val="prometheus", uid="${datasource}"))
        .refresh(models.VariableRefresh.ON_TIME_RANGE_CHANGED)
        .sort(models.VariableSort.ALPHABETICAL_ASC)
        .multi(True)
        .include_all(True)
        .all_value(EVERYTHING)
        .current(models.VariableOption(text=text, value=value, selected=True))
    )
