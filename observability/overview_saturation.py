"""The row of the overview on limits: slots, memory, CPU, the event loop."""

from observability.panels import GREEN, RED, YELLOW, Panel, Query, Row
from observability.promql import OPERATION, pick, quantile, rate, total


def row() -> Row:
    """How near the limits are."""
    in_use, limit = pick("mimic_upstream_slots_in_use"), pick("mimic_upstream_slots_limit")
    return Row(
        "Saturation",
        (
            Panel(
                title="In flight",
                description="Requests that are being served. Rising without more requests: they take longer, mostly "
                "since the backend is slow.",
                queries=(Query(total(pick("mimic_requests_in_flight", OPERATION), "operation"), "{{operation}}"),),
                unit="short",
                stacked=True,
            ),
            Panel(
                title="Slots in use",
                description="Of MAX_CONCURRENCY, the fullest pod. At 100 % calls queue, and with a full queue get 503 "
                "overloaded: raise it, add pods, or mend the backend that holds them.",
                queries=(Query(f"max by (pool) ({in_use} / ({limit} > 0))", "{{pool}}"),),
                unit="percentunit",
                at_most=1,
                thresholds=((None, GREEN), (0.7, YELLOW), (0.9, RED)),
                no_value="no limit",
            ),
            Panel(
                title="Waits for a slot",
                description="Only of requests that waited. Anything here is time that callers lose to MAX_CONCURRENCY; "
                "after QUEUE_TIMEOUT they get 503.",
                queries=tuple(
                    Query(quantile(which, "mimic_upstream_slot_wait_seconds"), f"p{which * 100:.0f}")
                    for which in (0.5, 0.99)
                ),
                unit="s",
            ),
            Panel(
                title="Not let in, by reason",
                description="concurrency: slots and queue full. buffers: MAX_BUFFERED_BYTES held. body_size: larger "
                "than MAX_BODY_BYTES. draining: the pod stops. All but body_size are about load.",
                queries=(Query(total(rate("mimic_admission_rejected_total"), "reason"), "{{reason}}"),),
                unit="reqps",
                stacked=True,
            ),
            Panel(
                title="Event loop lag, p99",
                description="How late timers are, per pod. Above 0.1 s streams stutter: too little CPU, or throttled "
                "by its limit. One process uses one core: add pods.",
                queries=(Query(quantile(0.99, "mimic_event_loop_lag_seconds", by=("pod",)), "{{pod}}"),),
                unit="s",
                thresholds=((None, GREEN), (0.1, YELLOW), (0.25, RED)),
            ),
            Panel(
                title="CPU",
                description="Cores in use per pod. Near 1 it cannot go faster; below that with a late event loop it is "
                "throttled by its limit.",
                queries=(Query(total(rate("process_cpu_seconds_total"), "pod"), "{{pod}}"),),
                unit="short",
                thresholds=((None, GREEN), (0.9, RED)),
            ),
            Panel(
                title="Memory",
                description="Resident memory per pod. It grows with bodies held (MAX_BUFFERED_BYTES) and open "
                "streams; a steady climb without load is a leak to report.",
                queries=(Query(f"max by (pod) ({pick('process_resident_memory_bytes')})", "{{pod}}"),),
                unit="bytes",
                width=12,
            ),
            Panel(
                title="File descriptors",
                description="Open of allowed, per pod. Two for each call in flight; near 100 % no connection is "
                "accepted.",
                queries=(Query(f"max by (pod) ({pick('process_open_fds')} / {pick('process_max_fds')})", "{{pod}}"),),
                unit="percentunit",
                width=12,
                at_most=1,
                thresholds=((None, GREEN), (0.8, RED)),
            ),
        ),
    )
