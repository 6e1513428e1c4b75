"""Traces: which spans an observation becomes, and how they reach a collector.

settings   pure: what the OTEL_* variables ask for
tracer     Tracing: takes observations
spans      pure: the spans of an exchange, of a token refresh, of the process
encoding   pure: how a span is written
export     the queue with its thread, and the way to the collector
web        FastAPI's own instrumentation, whose spans take the same way; the only module that imports OpenTelemetry
"""
