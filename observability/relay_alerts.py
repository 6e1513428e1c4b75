"""Alerts on what stands between callers and backend: breaker, slots, streams, faults of Mimic's own."""

from observability.places import OVERVIEW, STREAMS
from observability.rulefile import Alert, Group

POD = "{{ $labels.namespace }}/{{ $labels.pod }}"
# The token service's breaker is left to the alerts on tokens: a token that is held serves on while it is open.
NOT_CLOSED = 'max by (namespace, job, pod) (mimic_breaker_state{target="backend",state=~"open|half_open"})'
# A breaker stays open until somebody calls: without calls it turns nobody away.
AT_WORK = (
    'sum by (namespace, job, pod) (increase(mimic_breaker_rejected_total{target="backend"}[10m])'
    ' or increase(mimic_breaker_transitions_total{target="backend",to="open"}[10m])) > 0'
)
IDLE_SHARE = 0.02
LEAST_IDLE = 5


def _breaker_of_pod() -> Alert:
    return Alert(
        name="MimicBreakerOpen",
        severity="warning",
        expr=f"{NOT_CLOSED} == 1\nand {AT_WORK}",
        hold="2m",
        board=OVERVIEW,
        summary=f"{POD} gives the backend a pause",
        description=(
            f"The breaker of {POD} towards the backend has not been closed for two minutes: calls get "
            "503 circuit_open, but for one probe after each BREAKER_COOLDOWN."
        ),
    )


def _breaker_of_most() -> Alert:
    return Alert(
        name="MimicBreakerOpen",
        severity="critical",
        expr=f"avg by (namespace, job) ({NOT_CLOSED} and {AT_WORK} or {NOT_CLOSED} * 0) > 0.5",
        hold="2m",
        board=OVERVIEW,
        summary="Most pods of namespace {{ $labels.namespace }} give the backend a pause",
        description=(
            "The breakers of {{ $value | humanizePercentage }} of the pods in namespace {{ $labels.namespace }} "
            "towards the backend have not been closed for two minutes: it fails for all of them."
        ),
    )


def _saturated() -> Alert:
    return Alert(
        name="MimicUpstreamPoolSaturated",
        severity="warning",
        expr="mimic_upstream_slots_in_use / (mimic_upstream_slots_limit > 0) > 0.9",
        hold="10m",
        board=OVERVIEW,
        summary=f"{POD} has used {{{{ $value | humanizePercentage }}}} of its slots for 10 minutes",
        description=(
            f"{{{{ $value | humanizePercentage }}}} of MAX_CONCURRENCY are in use in {POD}. With all of them calls "
            "wait for a slot, and with a full queue they get 503 overloaded."
        ),
    )


def _idle_streams() -> Alert:
    idle = 'sum by (namespace, job) (increase(mimic_streams_total{outcome="idle_timeout"}[30m]))'
    return Alert(
        name="MimicStreamsIdleTimeout",
        severity="warning",
        expr=(
            f"{idle} / sum by (namespace, job) (increase(mimic_streams_total[30m])) > {IDLE_SHARE}\n"
            f"and {idle} >= {LEAST_IDLE}"
        ),
        hold="15m",
        board=STREAMS,
        summary="{{ $value | humanizePercentage }} of streams in namespace {{ $labels.namespace }} fell silent",
        description=(
            "{{ $value | humanizePercentage }} of the streams of the last 30 minutes in namespace "
            "{{ $labels.namespace }} were ended because the backend sent nothing for IDLE_TIMEOUT. Their readers had "
            "half an answer, then a long silence, then an error."
        ),
    )


def _internal_error() -> Alert:
    faults = 'mimic_requests_total{outcome="internal_error"}'
    return Alert(
        name="MimicInternalError",
        severity="warning",
        # The second part is for what `increase` cannot see: a series that begins with its first event.
        expr=(
            f"sum by (namespace, job) (increase({faults}[15m])) > 0\n"
            f"or sum by (namespace, job) ({faults} unless {faults} offset 15m) > 0"
        ),
        hold="0m",
        board=OVERVIEW,
        summary="Mimic itself failed in namespace {{ $labels.namespace }}",
        description=(
            "{{ $value | humanize }} requests of the last 15 minutes in namespace {{ $labels.namespace }} ended with "
            "internal_error: a fault in Mimic, with a traceback in its log. Neither backend nor token service did it."
        ),
    )


def group() -> Group:
    """All of them."""
    return Group(
        "mimic.relay", (_internal_error(), _breaker_of_most(), _breaker_of_pod(), _saturated(), _idle_streams())
    )
