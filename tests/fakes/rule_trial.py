"""Series of a healthy pod, what may go wrong with them, and which alerts then fire, as promtool finds out."""

import json
import subprocess
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from fakes.tools import tool
from mimic_proxy.telemetry.catalogue import CLOSED

Values = Callable[[int], Sequence[float | None]]
"""Samples of so many minutes, one each; None where there is none."""
Series = Mapping[str, Values]
"""By the series as PromQL writes it, without the labels of the scrape."""
Firing = set[tuple[str, str]]
"""Alerts by name and severity; those of a budget by their long window instead."""


def steady(value: float) -> Values:
    return steps({0: value})


def steps(values: Mapping[int, float]) -> Callable[[int], list[float]]:
    """A gauge that has each value from its minute on."""

    def samples(minutes: int) -> list[float]:
        return [values[max(start for start in values if start <= minute)] for minute in range(minutes)]

    return samples


def growing(per_minute: Mapping[int, float]) -> Values:
    """A counter that grows by each amount a minute from its minute on."""

    def samples(minutes: int) -> Sequence[float]:
        rates, total, found = steps(per_minute)(minutes), 0.0, []
        for rate in rates:
            found.append(total)
            total += rate
        return found

    return samples


def born(first: int, value: float) -> Values:
    """A counter that is not there before a minute, and begins with a value that it keeps."""
    return lambda minutes: [None] * first + [value] * (minutes - first)


def renewed(every: int) -> Values:
    """The moment of the last of renewals that come every so many minutes."""
    return lambda minutes: [minute // every * every * 60 for minute in range(minutes)]


def healthy() -> dict[str, Values]:
    """A pod with a request a second, half of them streams, and a token of an hour that is renewed after 45 minutes."""
    calls = growing({0: 60})
    none = growing({0: 0})
    return {
        "up": steady(1),
        **{f'mimic_requests_total{{outcome="{outcome}"}}': none for outcome in CLOSED["outcome"]},
        'mimic_requests_total{outcome="completed"}': calls,
        **{f'mimic_streams_total{{outcome="{outcome}"}}': none for outcome in CLOSED["outcome"]},
        'mimic_streams_total{outcome="completed"}': growing({0: 30}),
        **{f'mimic_stream_time_to_first_chunk_seconds_bucket{{le="{le}"}}': calls for le in ("5.12", "+Inf")},
        "mimic_stream_time_to_first_chunk_seconds_count": calls,
        **{f'mimic_overhead_seconds_bucket{{le="{le}"}}': calls for le in ("0.05", "+Inf")},
        "mimic_overhead_seconds_count": calls,
        **{f'mimic_event_loop_lag_seconds_bucket{{le="{le}"}}': calls for le in ("0.001", "0.25", "1.0", "+Inf")},
        **{f'mimic_token_refresh_total{{result="{result}",trigger="proactive"}}': none for result in CLOSED["result"]},
        'mimic_token_refresh_total{result="success",trigger="unauthorized"}': none,
        "mimic_token_required": steady(1),
        "mimic_token_issued_timestamp_seconds": renewed(45),
        "mimic_token_lifetime_seconds": steady(3600),
        "mimic_token_refresh_margin_seconds": steady(900),
        "mimic_token_consecutive_failures": steady(0),
        **{f'mimic_ready{{condition="{condition}"}}': steady(1) for condition in ("config", "token", "serving")},
        **{f'mimic_breaker_state{{target="backend",state="{state}"}}': steady(0) for state in ("open", "half_open")},
        'mimic_breaker_state{target="backend",state="closed"}': steady(1),
        'mimic_breaker_rejected_total{target="backend"}': none,
        'mimic_breaker_transitions_total{target="backend",to="open"}': none,
        'mimic_upstream_slots_in_use{pool="all"}': steady(3),
        'mimic_upstream_slots_limit{pool="all"}': steady(512),
        "mimic_config_last_reload_success": steady(1),
        "mimic_spans_dropped_total": none,
        'mimic_spans_exported_total{result="failure"}': none,
    }


def labelled(series: str, **labels: str) -> str:
    """The series with further labels."""
    name, _, present = series.partition("{")
    added = [f'{label}="{value}"' for label, value in labels.items()]
    return f"{name}{{{','.join([present.removesuffix('}')] * bool(present) + added)}}}"


def scraped(pod: str) -> dict[str, str]:
    """Labels that a scrape adds; `pod` is written as NAMESPACE/NAME."""
    namespace, _, name = pod.partition("/")
    return {"job": "mimic", "namespace": namespace, "pod": name, "instance": f"{name}:8001"}


def scraped_operator(pod: str) -> dict[str, str]:
    """The same of a process of the operator; its pod's name begins with its component."""
    component = pod.partition("/")[2].partition("-")[0]
    return {**scraped(pod), "job": "mimic-operator", "component": component}


def trial(
    rules: Iterable[Path],
    pods: Mapping[str, Series],
    fires: Mapping[str, Mapping[int, Firing]],
    seconds: int = 30,
    labels: Callable[[str], dict[str, str]] = scraped,
) -> dict[str, object]:
    """What promtool reads: the series of some pods, and all that fires by namespace at some minutes.

    seconds: between two evaluations of all rules. labels: those that the scrape of a pod adds.
    """
    minutes = max(minute for times in fires.values() for minute in times) + 2
    series = [
        {"series": labelled(name, **labels(pod)), "values": written(values(minutes))}
        for pod, wrong in pods.items()
        for name, values in wrong.items()
    ]
    checks = [
        {"expr": found(namespace), "eval_time": f"{minute}m", "exp_samples": [_sample(*which) for which in firing]}
        for namespace, times in fires.items()
        for minute, firing in times.items()
    ]
    return {
        "rule_files": [str(rule) for rule in rules],
        "evaluation_interval": f"{seconds}s",
        "tests": [{"interval": "1m", "input_series": series, "promql_expr_test": checks}],
    }


def written(samples: Iterable[float | None]) -> str:
    """As promtool reads them."""
    return " ".join("_" if sample is None else f"{sample:.12g}" for sample in samples)


def found(namespace: str) -> str:
    """What fires in a namespace."""
    firing = f'ALERTS{{alertstate="firing",namespace="{namespace}"'
    return (
        "group by (alertname, which) ("
        f'label_replace({firing},long_window=""}}, "which", "$1", "severity", "(.+)")'
        f' or label_replace({firing},long_window!=""}}, "which", "$1", "long_window", "(.+)"))'
    )


def _sample(name: str, which: str) -> dict[str, object]:
    return {"labels": f'{{alertname="{name}",which="{which}"}}', "value": 1}


def complaints(document: Mapping[str, object], folder: Path) -> str:
    """What `promtool test rules` finds wrong with one test; empty when all is as expected."""
    file = folder / "trial.yaml"
    # YAML holds JSON, and that is written in a hundredth of the time.
    file.write_text(json.dumps(document))
    command = [tool("promtool"), "test", "rules", str(file)]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    told_of_alerts = "expr:" in ended.stderr or "alertname:" in ended.stderr
    assert (ended.returncode == 0 and not ended.stderr) or told_of_alerts, ended
    return ended.stderr
