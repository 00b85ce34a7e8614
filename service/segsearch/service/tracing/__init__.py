"""Traces: where a request's time goes, through queue, model and store, for a collector that speaks OpenTelemetry."""
