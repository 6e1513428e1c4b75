"""Every metric of the proxy: name, kind, labels, buckets and meaning. Pure data.

Metrics are counted by `metrics`, dashboards and rules are built and checked against what stands here. A counter's name
carries its `_total`; units stand in the names.

Labels whose values are a closed list are named in CLOSED; `code` is an HTTP status, or its class for one that is not
usual (see `counts`), `model` a bounded name (see `models`), `pool` and `key` come from the configuration.
"""

from dataclasses import dataclass
from typing import Literal, get_args

from mimic_proxy.telemetry.observation import (
    AdmissionRefusal,
    ErrorType,
    Operation,
    Outcome,
    RefreshResult,
    RefreshTrigger,
    RetryReason,
    StreamMode,
    UsageType,
)

Kind = Literal["counter", "gauge", "histogram"]


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric family. bounds: upper bounds of a histogram's buckets, ascending, without +Inf."""

    name: str
    kind: Kind
    help: str
    labels: tuple[str, ...] = ()
    bounds: tuple[float, ...] = ()


DURATIONS = tuple(0.01 * 2**power for power in range(17))
"""10 ms to 655 s; every threshold of a service level is one of them."""
OVERHEADS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)
GAPS = (0.001, 0.0025, 0.005, 0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 30.0)
SIZES = tuple(256.0 * 4**power for power in range(10))
"""256 bytes to 64 MiB."""
REFRESHES = tuple(0.01 * 2**power for power in range(13))
LAGS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)
GENAI_SECONDS = tuple(0.01 * 2**power for power in range(14))
GENAI_TOKENS = tuple(float(4**power) for power in range(14))
"""Prescribed, as GENAI_SECONDS are, by OpenTelemetry's conventions for generative AI."""

CLOSED: dict[str, tuple[str, ...]] = {
    "operation": get_args(Operation),
    "outcome": get_args(Outcome),
    "error_type": ("", *get_args(ErrorType)),
    "mode": get_args(StreamMode),
    "type": get_args(UsageType),
    "result": get_args(RefreshResult),
    "trigger": get_args(RefreshTrigger),
    "stream": ("true", "false"),
    "state": ("closed", "half_open", "open"),
    "target": ("backend", "token"),
    "condition": ("config", "token", "serving", "backend"),
    "kind": ("http", "envelope"),
}
"""Values of labels by the label's name, for all metrics that do not give it another meaning below."""
REASONS: dict[str, tuple[str, ...]] = {
    "mimic_retries_total": get_args(RetryReason),
    "mimic_admission_rejected_total": get_args(AdmissionRefusal),
}
"""Values of `reason`, by the metric."""
PLAIN_RESULTS = ("success", "failure")
"""Values of `result` for metrics that are not about token refreshes."""

RELAY = (
    Metric(
        "mimic_requests_total",
        "counter",
        "Finished requests; code is the status sent, 499 if none was.",
        ("operation", "stream", "code", "outcome"),
    ),
    Metric(
        "mimic_request_duration_seconds",
        "histogram",
        "First byte of a request in to last byte of its response out.",
        ("operation", "outcome"),
        DURATIONS,
    ),
    Metric(
        "mimic_overhead_seconds",
        "histogram",
        "Part of a request's duration that was not spent waiting for a slot, the token, the backend or the caller.",
        ("operation",),
        OVERHEADS,
    ),
    Metric("mimic_requests_in_flight", "gauge", "Requests that are being served now.", ("operation",)),
    Metric("mimic_request_body_bytes", "histogram", "Size of request bodies.", ("operation",), SIZES),
    Metric("mimic_response_body_bytes", "histogram", "Size of response bodies.", ("operation",), SIZES),
    Metric(
        "mimic_upstream_attempts_total",
        "counter",
        "Tries at the backend; code is empty where no head came, error_type where nothing was wrong.",
        ("operation", "code", "error_type"),
    ),
    Metric(
        "mimic_upstream_head_seconds",
        "histogram",
        "Request sent to the backend's response head, for each try; code is the class of its status.",
        ("operation", "code"),
        DURATIONS,
    ),
    Metric("mimic_retries_total", "counter", "Tries that Mimic repeated by itself.", ("operation", "reason")),
    Metric(
        "mimic_client_retries_total",
        "counter",
        "Requests that a caller's SDK marked as retries of its own.",
        ("operation",),
    ),
    Metric(
        "mimic_caller_requests_total",
        "counter",
        "Finished requests by the caller's entry among the client keys; empty if no client keys are required.",
        ("key",),
    ),
    Metric(
        "mimic_tokens_total",
        "counter",
        "The model's tokens, as far as the backend reported usage.",
        ("operation", "model", "type"),
    ),
    Metric("mimic_model_requests_total", "counter", "Finished requests by model.", ("operation", "model", "outcome")),
)
STREAM = (
    Metric("mimic_streams_total", "counter", "Finished event streams.", ("operation", "outcome", "mode")),
    Metric("mimic_streams_in_flight", "gauge", "Event streams that are open now.", ("operation",)),
    Metric(
        "mimic_stream_time_to_first_chunk_seconds",
        "histogram",
        "First byte of the request in to the first event with content out.",
        ("operation", "model"),
        DURATIONS,
    ),
    Metric(
        "mimic_stream_chunk_gap_seconds",
        "histogram",
        "Between two reads that brought events, after the first.",
        ("operation",),
        GAPS,
    ),
    Metric(
        "mimic_stream_max_gap_seconds",
        "histogram",
        "The longest gap of each stream: the worst stall that its reader saw.",
        ("operation",),
        DURATIONS,
    ),
    Metric("mimic_stream_duration_seconds", "histogram", "Duration of streams.", ("operation", "outcome"), DURATIONS),
    Metric("mimic_stream_events_total", "counter", "Events of ended streams.", ("operation",)),
    Metric("mimic_stream_bytes_total", "counter", "Bytes of ended streams.", ("operation",)),
    Metric(
        "mimic_stream_send_blocked_seconds_total",
        "counter",
        "Time in which slow callers of ended streams took nothing.",
        ("operation",),
    ),
    Metric("mimic_stream_heartbeats_total", "counter", "Comments sent while a backend was silent.", ("operation",)),
)
TOKEN = (
    Metric("mimic_token_refresh_total", "counter", "Calls to the token service.", ("result", "trigger")),
    Metric(
        "mimic_token_refresh_duration_seconds",
        "histogram",
        "Duration of calls to the token service.",
        ("result",),
        REFRESHES,
    ),
    Metric(
        "mimic_token_expiry_timestamp_seconds",
        "gauge",
        "Unix time at which the access token expires, assumed if the token service did not state it; 0 without one.",
    ),
    Metric(
        "mimic_token_issued_timestamp_seconds",
        "gauge",
        "Unix time at which the access token was requested; 0 without one.",
    ),
    Metric("mimic_token_lifetime_seconds", "gauge", "Lifetime of the present access token; 0 without one."),
    Metric(
        "mimic_token_refresh_margin_seconds",
        "gauge",
        "How long before its expiry the present access token is replaced; 0 without one.",
    ),
    Metric("mimic_token_required", "gauge", "1 where a token service is configured."),
    Metric(
        "mimic_token_wait_seconds",
        "histogram",
        "Time that requests waited for a token; requests that did not wait are not counted.",
        (),
        DURATIONS,
    ),
    Metric("mimic_token_waiters", "gauge", "Requests that wait for a token now."),
    Metric("mimic_token_coalesced_total", "counter", "Requests that joined a refresh which was under way."),
    Metric(
        "mimic_token_upstream_unauthorized_total",
        "counter",
        "Times that the backend refused the access token.",
        ("kind",),
    ),
    Metric("mimic_token_consecutive_failures", "gauge", "Failed calls to the token service since the last success."),
)
RESILIENCE = (
    Metric("mimic_breaker_state", "gauge", "1 for the state that the breaker is in.", ("target", "state")),
    Metric("mimic_breaker_transitions_total", "counter", "Changes of a breaker's state.", ("target", "to")),
    Metric("mimic_breaker_rejected_total", "counter", "Requests that a breaker rejected.", ("target",)),
    Metric("mimic_upstream_slots_in_use", "gauge", "Requests that hold one of MAX_CONCURRENCY slots.", ("pool",)),
    Metric("mimic_upstream_slots_limit", "gauge", "MAX_CONCURRENCY; 0 is no limit.", ("pool",)),
    Metric(
        "mimic_upstream_slot_wait_seconds",
        "histogram",
        "Time that requests waited for a slot; requests that did not wait are not counted.",
        ("pool",),
        DURATIONS,
    ),
    Metric("mimic_admission_rejected_total", "counter", "Requests that were not admitted.", ("reason",)),
)
PROCESS = (
    Metric("mimic_event_loop_lag_seconds", "histogram", "How late the event loop ran a timer.", (), LAGS),
    Metric("mimic_config_reloads_total", "counter", "Changed files that were read again.", ("result",)),
    Metric("mimic_config_last_reload_success", "gauge", "1 unless the last changed files could not be used."),
    Metric(
        "mimic_config_last_reload_timestamp_seconds",
        "gauge",
        "Unix time at which the configuration was read last, at the start or later.",
    ),
    Metric("mimic_config_info", "gauge", "Hash of the effective configuration, secrets aside.", ("hash",)),
    Metric("mimic_ready", "gauge", "1 for each condition that holds.", ("condition",)),
    Metric("mimic_draining", "gauge", "1 while Mimic is stopping."),
    Metric("mimic_spans_exported_total", "counter", "Spans handed to the collector.", ("result",)),
    Metric("mimic_spans_dropped_total", "counter", "Spans that never reached an exporter."),
    Metric("mimic_log_lines_dropped_total", "counter", "Log lines that were not written because nobody read the log."),
    Metric(
        "mimic_build_info", "gauge", "Version, revision and Python of this process.", ("version", "revision", "python")
    ),
)
GENAI_LABELS = (
    "gen_ai_operation_name",
    "gen_ai_provider_name",
    "gen_ai_request_model",
    "gen_ai_response_model",
    "server_address",
    "server_port",
)
GENAI = (
    Metric(
        "gen_ai_client_operation_duration_seconds",
        "histogram",
        "Duration of a call to the model.",
        (*GENAI_LABELS, "error_type"),
        GENAI_SECONDS,
    ),
    Metric(
        "gen_ai_client_token_usage",
        "histogram",
        "Tokens used by a call, by their type.",
        (*GENAI_LABELS, "gen_ai_token_type"),
        GENAI_TOKENS,
    ),
    Metric(
        "gen_ai_client_operation_time_to_first_chunk_seconds",
        "histogram",
        "Start of a streamed call to its first chunk.",
        GENAI_LABELS,
        GENAI_SECONDS,
    ),
    Metric(
        "gen_ai_client_operation_time_per_output_chunk_seconds",
        "histogram",
        "Between two chunks of a streamed call, after the first.",
        GENAI_LABELS,
        GENAI_SECONDS,
    ),
)
"""OpenTelemetry's own set (semantic-conventions-genai, gen-ai-metrics.md), with MIMIC_GENAI_METRICS only."""

CATALOGUE = {metric.name: metric for metric in (*RELAY, *STREAM, *TOKEN, *RESILIENCE, *PROCESS)}
"""What is always there, by name."""
