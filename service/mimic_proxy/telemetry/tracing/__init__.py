"""Traces: which spans an observation becomes, and how they reach a collector.

create        from the OTEL_* variables to a Tracing, or to none
tracer        Tracing: takes observations
exchange, roots   pure: the spans of an exchange, of a token refresh, of the process
span, otlp, console   pure: what a span is, and how it is written
pipeline, sender   the queue with its thread, and the way to the collector
web, environment   FastAPI's own instrumentation; the only module that imports OpenTelemetry is `web`
"""
