"""Opens the way to a collector, where the packages for it are installed."""

from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from segsearch.core.errors import MissingExtra
from segsearch.service.settings import Settings

if TYPE_CHECKING:
    from segsearch.service.tracing.otlp import OtlpTraces

_PATH = "/v1/traces"  # where collectors take traces


def open_traces(settings: Settings) -> "OtlpTraces | None":
    """What sends traces to the endpoint of the settings; None where they name none. Raises MissingExtra."""
    if settings.traces_endpoint is None:
        return None
    try:
        from segsearch.service.tracing.otlp import OtlpTraces
    except ModuleNotFoundError as error:
        raise MissingExtra("serve --traces-endpoint", "traces", error.name or "opentelemetry") from None
    url = urlsplit(settings.traces_endpoint)
    endpoint = (url if url.path.strip("/") else url._replace(path=_PATH)).geturl()
    return OtlpTraces(endpoint, settings.traces_share, settings.drain_s + settings.shutdown_s)
