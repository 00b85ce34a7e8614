"""Opens the way to a collector, where one is wanted and the packages for it are installed."""

from contextlib import AbstractContextManager, nullcontext
from typing import Final
from urllib.parse import urlsplit

from segsearch.core.errors import MissingExtra
from segsearch.service.settings import Settings
from segsearch.service.tracing.trace import Traces

_PATH: Final = "/v1/traces"  # where collectors take traces, unless the URL says otherwise


def open_traces(settings: Settings) -> AbstractContextManager[Traces | None]:
    """What sends traces to the endpoint of the settings; None where they name none. Raises MissingExtra."""
    if settings.traces_endpoint is None:
        return nullcontext()
    try:
        from segsearch.service.tracing.otlp import OtlpTraces
    except ModuleNotFoundError as error:
        raise MissingExtra("serve --traces-endpoint", "traces", error.name or "opentelemetry") from None
    url = urlsplit(settings.traces_endpoint)
    endpoint = url if url.path.strip("/") else url._replace(path=_PATH)
    return OtlpTraces(endpoint.geturl(), settings.traces_share, settings.drain_s + settings.shutdown_s)
