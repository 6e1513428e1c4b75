"""Alerts on the process: whether it is seen at all, its event loop, its configuration, its traces."""

from observability.places import JOB, OVERVIEW
from observability.rulefile import Alert, Group

POD = "{{ $labels.namespace }}/{{ $labels.pod }}"
UP = f'up{{job="{JOB}"}}'


def _down(*, all_of_them: bool) -> Alert:
    # A process that hangs answers no scrape: all other alerts are about pods that still talk.
    everyone = "No pod of namespace {{ $labels.namespace }} answers Prometheus"
    return Alert(
        name="MimicTargetDown",
        severity="critical" if all_of_them else "warning",
        expr=f"max by (namespace, job) ({UP}) == 0" if all_of_them else f"{UP} == 0",
        hold="5m",
        board=OVERVIEW,
        summary=everyone if all_of_them else f"{POD} does not answer Prometheus",
        description=(
            f"{everyone if all_of_them else f'{POD} does not answer Prometheus'} on the admin port for 5 minutes: it "
            "hangs, its start fails, or the network between is shut. Nothing else can be said of it meanwhile."
        ),
    )


def _lag() -> Alert:
    buckets = "sum by (namespace, job, pod, le) (rate(mimic_event_loop_lag_seconds_bucket[5m]))"
    return Alert(
        name="MimicEventLoopLag",
        severity="warning",
        expr=f"histogram_quantile(0.99, {buckets}) > 0.25",
        hold="10m",
        board=OVERVIEW,
        summary=f"The event loop of {POD} is late by {{{{ $value | humanizeDuration }}}}",
        description=(
            f"One in a hundred timers of {POD} is late by {{{{ $value | humanizeDuration }}}} and more. Every stream "
            "of the pod stutters by as much. Mostly it has too little CPU, or is throttled by its limit."
        ),
    )


def _reload() -> Alert:
    return Alert(
        name="MimicConfigReloadFailed",
        severity="warning",
        expr="mimic_config_last_reload_success == 0",
        hold="10m",
        board=OVERVIEW,
        summary=f"{POD} could not use files that were changed",
        description=(
            f"Files of {POD} were changed and could not be used; it goes on with what it had read before. After its "
            "next start it would not have that any more."
        ),
    )


def _traces() -> Alert:
    return Alert(
        name="MimicTracesDropped",
        severity="info",
        expr=(
            "sum by (namespace, job, pod) (increase(mimic_spans_dropped_total[15m])"
            ' or increase(mimic_spans_exported_total{result="failure"}[15m])) > 0'
        ),
        hold="15m",
        board=OVERVIEW,
        summary=f"{POD} loses traces",
        description=(
            f"{{{{ $value | humanize }}}} spans of {POD} did not reach the collector in 15 minutes. Calls are not "
            "concerned; metrics and log lines are complete."
        ),
    )


def group() -> Group:
    """All but the one that needs to know that Mimic is expected at all."""
    return Group("mimic.process", (_down(all_of_them=True), _down(all_of_them=False), _lag(), _reload(), _traces()))


def absent() -> Group:
    """In a file of its own: where there may rightly be no Mimic, it is not loaded."""
    alert = Alert(
        name="MimicAbsent",
        severity="critical",
        expr=f"absent({UP} == 1)",
        hold="5m",
        board=OVERVIEW,
        summary="Prometheus sees no Mimic at all",
        description=(
            f"No target of the job {JOB} has answered for 5 minutes: no pod runs, none is ready to be found, or "
            "Prometheus does not select the PodMonitor."
        ),
    )
    return Group("mimic.absent", (alert,))
