"""What is chosen at the top of each dashboard, and what is marked on its time axis."""

from grafana_foundation_sdk.builders import dashboard
from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.models import dashboard as models

from mimic_proxy.telemetry.catalogue import DURATIONS
from observability.objectives import FIRST_CHUNK_SECONDS
from observability.places import JOB
from observability.promql import pick

SLO_CHOICES = tuple(bound for bound in DURATIONS if 0.5 < bound < 50)
"""Only bounds of buckets can be counted exactly."""
EVERYTHING = ".*"
"""Matches series without the label too: a Prometheus on a laptop knows neither namespace nor pod."""
_OPENED = pick("mimic_breaker_transitions_total", 'target="backend"', 'to="open"')
ANNOTATIONS = (
    (
        "Configuration read",
        f"changes({pick('mimic_config_last_reload_timestamp_seconds')}[$__rate_interval]) > 0",
        "{{pod}} read its configuration again",
        "blue",
    ),
    (
        "Process started",
        f"changes({pick('process_start_time_seconds')}[$__rate_interval]) > 0",
        "{{pod}} started again",
        "orange",
    ),
    (
        "New version",
        f"count by (version) ({pick('mimic_build_info')})"
        f" unless count by (version) ({pick('mimic_build_info')} offset $__rate_interval)",
        "Version {{version}} appeared",
        "purple",
    ),
    (
        "Breaker opened",
        f"increase({_OPENED}[$__rate_interval]) > 0",
        "{{pod}} gives the backend a pause",
        "red",
    ),
)
"""Name, expression, title and colour."""


def variables() -> list[Builder[models.VariableModel]]:
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


def _query(name: str, query: str, usual: str | None = None) -> dashboard.QueryVariable:
    text, value = (usual, [usual]) if usual else ("All", ["$__all"])
    return (
        dashboard.QueryVariable(name)
        .label(name.capitalize())
        .query(query)
        .datasource(models.DataSourceRef(type_val="prometheus", uid="${datasource}"))
        .refresh(models.VariableRefresh.ON_TIME_RANGE_CHANGED)
        .sort(models.VariableSort.ALPHABETICAL_ASC)
        .multi(True)
        .include_all(True)
        .all_value(EVERYTHING)
        .current(models.VariableOption(text=text, value=value, selected=True))
    )
