"""`segsearch serve`: its options, and what they plan. Heavy imports wait until it runs."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from segsearch.core.cli import emit
from segsearch.service.cli import (
    BatchOption,
    BundleOption,
    CacheOption,
    FrameLimitOption,
    IndexOption,
    Precision,
    PrecisionOption,
    Provider,
    ProviderOption,
    ThreadsOption,
)
from segsearch.service.settings import (
    ANSWER_CACHE_BYTES,
    BATCH_WAIT_MS,
    BODY_LIMIT_BYTES,
    BODY_TIMEOUT_S,
    COMPACT_AT_DELETED,
    COMPACT_AT_ROWS,
    FRAME_LIMIT,
    QUEUE_FRAMES,
    Settings,
)

if TYPE_CHECKING:
    from segsearch.service.processes.plan import Plan


def serve(
    index: IndexOption,
    bundle: BundleOption,
    cache: CacheOption,
    host: Annotated[str, typer.Option(envvar="SEGSEARCH_HOST", help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(envvar="SEGSEARCH_PORT", help="Port; 0 takes a free one.")] = 8000,
    grpc_port: Annotated[
        int | None, typer.Option(envvar="SEGSEARCH_GRPC_PORT", help="Port for gRPC, too; 0 takes a free one.")
    ] = None,
    body_limit_bytes: Annotated[
        int, typer.Option(envvar="SEGSEARCH_BODY_LIMIT_BYTES", help="Largest request body, before and after inflating.")
    ] = BODY_LIMIT_BYTES,
    body_timeout_s: Annotated[
        int, typer.Option(envvar="SEGSEARCH_BODY_TIMEOUT_S", help="How long a request body may take to arrive.")
    ] = BODY_TIMEOUT_S,
    frame_limit: FrameLimitOption = FRAME_LIMIT,
    queue_frames: Annotated[
        int,
        typer.Option(
            envvar="SEGSEARCH_QUEUE_FRAMES", help="Frames that may wait to be scored; beyond that requests are refused."
        ),
    ] = QUEUE_FRAMES,
    batch_wait_ms: Annotated[
        int,
        typer.Option(
            envvar="SEGSEARCH_BATCH_WAIT_MS", help="How long a video waits for others to go through the model with it."
        ),
    ] = BATCH_WAIT_MS,
    shutdown_s: Annotated[
        int, typer.Option(envvar="SEGSEARCH_SHUTDOWN_S", help="How long requests may take after SIGTERM.")
    ] = 30,
    drain_s: Annotated[
        int,
        typer.Option(
            envvar="SEGSEARCH_DRAIN_S",
            help="How long requests are still taken after SIGTERM, while /readyz sends new ones elsewhere.",
        ),
    ] = 0,
    keys: Annotated[
        Path | None,
        typer.Option(
            envvar="SEGSEARCH_KEYS", help="File of API keys, read again when it changes; none leaves all open."
        ),
    ] = None,
    allow_open: Annotated[
        bool,
        typer.Option(
            "--allow-open",
            envvar="SEGSEARCH_ALLOW_OPEN",
            help="Listen beyond this machine without keys, for everybody.",
        ),
    ] = False,
    rate_per_s: Annotated[
        float, typer.Option(envvar="SEGSEARCH_RATE_PER_S", help="Requests a second of one key; 0 sets no limit.")
    ] = 0.0,
    rate_burst: Annotated[
        int, typer.Option(envvar="SEGSEARCH_RATE_BURST", help="Requests that a key may send at once.")
    ] = 100,
    tls_certificate: Annotated[
        Path | None, typer.Option(envvar="SEGSEARCH_TLS_CERTIFICATE", help="Certificate chain (PEM) to serve HTTPS.")
    ] = None,
    tls_key: Annotated[
        Path | None, typer.Option(envvar="SEGSEARCH_TLS_KEY", help="The certificate's private key (PEM).")
    ] = None,
    tls_client_ca: Annotated[
        Path | None,
        typer.Option(
            envvar="SEGSEARCH_TLS_CLIENT_CA", help="Authority (PEM) whose clients alone are let in: mutual TLS."
        ),
    ] = None,
    answer_cache_bytes: Annotated[
        int,
        typer.Option(
            envvar="SEGSEARCH_ANSWER_CACHE_BYTES", help="Room for answers to searches, kept until the library changes."
        ),
    ] = ANSWER_CACHE_BYTES,
    compact_at_rows: Annotated[
        int,
        typer.Option(
            envvar="SEGSEARCH_COMPACT_AT_ROWS",
            help="So many uploaded segments become part of a new generation by themselves; 0: never.",
        ),
    ] = COMPACT_AT_ROWS,
    compact_at_deleted: Annotated[
        float,
        typer.Option(
            envvar="SEGSEARCH_COMPACT_AT_DELETED",
            help="Where such a share of the videos is replaced or deleted (1,000 at least), too; 0: never.",
        ),
    ] = COMPACT_AT_DELETED,
    log_requests: Annotated[
        bool, typer.Option("--log-requests", envvar="SEGSEARCH_LOG_REQUESTS", help="Log a line for each request.")
    ] = False,
    traces_endpoint: Annotated[
        str | None,
        typer.Option(
            envvar="SEGSEARCH_TRACES_ENDPOINT",
            help="URL of a collector (OTLP over HTTP) that gets each request's trace.",
        ),
    ] = None,
    traces_share: Annotated[
        float,
        typer.Option(
            envvar="SEGSEARCH_TRACES_SHARE", help="Share of requests to trace, where callers have not decided, 0 to 1."
        ),
    ] = 1.0,
    bundles: Annotated[
        Path | None,
        typer.Option(envvar="SEGSEARCH_BUNDLES", help="Folder whose bundles may be loaded while the server runs."),
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option(envvar="SEGSEARCH_DATA", help="Folder whose shards may be reindexed over the API."),
    ] = None,
    live: Annotated[
        bool,
        typer.Option(
            "--live/--no-live",
            envvar="SEGSEARCH_LIVE",
            help="Keep a live store in the index directory, so that uploads can be added.",
        ),
    ] = True,
    workers: Annotated[
        int,
        typer.Option(
            envvar="SEGSEARCH_WORKERS", help="Processes that answer, on the same ports; each has a model of its own."
        ),
    ] = 1,
    check: Annotated[
        bool, typer.Option("--check", envvar="SEGSEARCH_CHECK", help="Do all that comes before listening, then exit.")
    ] = False,
    batch: BatchOption = 0,
    threads: ThreadsOption = 0,
    provider: ProviderOption = Provider.auto,
    precision: PrecisionOption = Precision.float32,
) -> None:
    """Answer searches and score uploads over HTTP, and over gRPC if told."""
    settings = Settings(
        host=host, port=port, body_limit_bytes=body_limit_bytes, body_timeout_s=body_timeout_s, frame_limit=frame_limit,
        shutdown_s=shutdown_s, keys=keys, allow_open=allow_open, rate_per_s=rate_per_s, rate_burst=rate_burst,
        tls_certificate=tls_certificate, tls_key=tls_key, tls_client_ca=tls_client_ca, log_requests=log_requests,
        grpc_port=grpc_port, answer_cache_bytes=answer_cache_bytes,
        queue_frames=queue_frames, batch_wait_ms=batch_wait_ms, drain_s=drain_s, bundles=bundles, data=data,
        compact_at_rows=compact_at_rows, compact_at_deleted=compact_at_deleted, workers=workers,
        traces_endpoint=traces_endpoint, traces_share=traces_share,
    )  # fmt: skip
    from segsearch.core.progress import say
    from segsearch.service import events
    from segsearch.service.processes.plan import Plan

    plan = Plan(
        settings=settings, index=index, bundle=bundle, cache=cache, live=live, batch=batch, threads=threads,
        provider=provider.value, precision=precision.value,
    )  # fmt: skip
    events.to_stderr()
    if settings.is_open:
        say(f"listening on {host} without keys: whoever reaches this address can search, score and switch generations")
    if workers > 1 and not check:
        from segsearch.service.processes.workers import serve_by_many

        serve_by_many(plan)
    else:
        _serve_here(plan, check=check)


def _serve_here(plan: "Plan", *, check: bool) -> None:
    from segsearch.service.processes.serving import assembled

    with assembled(plan) as serving:
        if check:
            settings = plan.settings
            emit(event="checked", index=str(plan.index), bundle=str(plan.bundle), keys=settings.keys is not None,
                 tls=settings.tls_certificate is not None, live=plan.live)  # fmt: skip
        else:
            serving.until_stopped()
