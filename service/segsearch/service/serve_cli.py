"""`segsearch serve`: its options, and what they plan. Heavy imports wait until it runs."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

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
    BODY_ROOM_BYTES,
    BODY_TIMEOUT_S,
    COMPACT_AT_DELETED,
    COMPACT_AT_ROWS,
    FRAME_LIMIT,
    KEEP_GENERATIONS,
    QUEUE_FRAMES,
    Settings,
)

if TYPE_CHECKING:
    from segsearch.service.processes.plan import Plan


def _option(variable: str, meaning: str, *names: str) -> Any:
    """An option that is a variable of the environment, too. names: where the parameter's own will not do."""
    return typer.Option(*names, envvar=f"SEGSEARCH_{variable}", help=meaning)


def serve(
    index: IndexOption,
    bundle: BundleOption,
    cache: CacheOption,
    host: Annotated[str, _option("HOST", "Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, _option("PORT", "Port; 0 takes a free one.")] = 8000,
    grpc_port: Annotated[int | None, _option("GRPC_PORT", "Port for gRPC, too; 0 takes a free one.")] = None,
    body_limit_bytes: Annotated[
        int, _option("BODY_LIMIT_BYTES", "Largest request body, before and after inflating.")
    ] = BODY_LIMIT_BYTES,
    body_room_bytes: Annotated[
        int,
        _option(
            "BODY_ROOM_BYTES", "What all request bodies over HTTP may take in memory, never less than one may alone."
        ),
    ] = BODY_ROOM_BYTES,
    body_timeout_s: Annotated[
        int, _option("BODY_TIMEOUT_S", "How long a request body may take to arrive.")
    ] = BODY_TIMEOUT_S,
    frame_limit: FrameLimitOption = FRAME_LIMIT,
    queue_frames: Annotated[
        int, _option("QUEUE_FRAMES", "Frames that may wait to be scored; beyond that requests are refused.")
    ] = QUEUE_FRAMES,
    batch_wait_ms: Annotated[
        int, _option("BATCH_WAIT_MS", "How long a video waits for others to go through the model with it.")
    ] = BATCH_WAIT_MS,
    shutdown_s: Annotated[int, _option("SHUTDOWN_S", "How long requests may take after SIGTERM.")] = 30,
    drain_s: Annotated[
        int,
        _option("DRAIN_S", "How long requests are still taken after SIGTERM, while /readyz sends new ones elsewhere."),
    ] = 0,
    keys: Annotated[
        Path | None, _option("KEYS", "File of API keys, read again when it changes; none leaves all open.")
    ] = None,
    allow_open: Annotated[
        bool, _option("ALLOW_OPEN", "Listen beyond this machine without keys, for everybody.", "--allow-open")
    ] = False,
    rate_per_s: Annotated[float, _option("RATE_PER_S", "Requests a second of one key; 0 sets no limit.")] = 0.0,
    rate_burst: Annotated[int, _option("RATE_BURST", "Requests that a key may send at once.")] = 100,
    tls_certificate: Annotated[
        Path | None, _option("TLS_CERTIFICATE", "Certificate chain (PEM) to serve HTTPS.")
    ] = None,
    tls_key: Annotated[Path | None, _option("TLS_KEY", "The certificate's private key (PEM).")] = None,
    tls_client_ca: Annotated[
        Path | None, _option("TLS_CLIENT_CA", "Authority (PEM) whose clients alone are let in: mutual TLS.")
    ] = None,
    answer_cache_bytes: Annotated[
        int, _option("ANSWER_CACHE_BYTES", "Room for answers to searches, kept until the library changes.")
    ] = ANSWER_CACHE_BYTES,
    compact_at_rows: Annotated[
        int,
        _option(
            "COMPACT_AT_ROWS", "So many uploaded segments become part of a new generation by themselves; 0: never."
        ),
    ] = COMPACT_AT_ROWS,
    compact_at_deleted: Annotated[
        float,
        _option(
            "COMPACT_AT_DELETED",
            "Where such a share of the videos is replaced or deleted (1,000 at least), too; 0: never.",
        ),
    ] = COMPACT_AT_DELETED,
    keep_generations: Annotated[
        int, _option("KEEP_GENERATIONS", "Generations kept by the compactions and reindexes that this server starts.")
    ] = KEEP_GENERATIONS,
    log_requests: Annotated[bool, _option("LOG_REQUESTS", "Log a line for each request.", "--log-requests")] = False,
    traces_endpoint: Annotated[
        str | None, _option("TRACES_ENDPOINT", "URL of a collector (OTLP over HTTP) that gets each request's trace.")
    ] = None,
    traces_share: Annotated[
        float, _option("TRACES_SHARE", "Share of requests to trace, where callers have not decided, 0 to 1.")
    ] = 1.0,
    bundles: Annotated[
        Path | None, _option("BUNDLES", "Folder whose bundles may be loaded while the server runs.")
    ] = None,
    bundle_key: Annotated[
        Path | None, _option("BUNDLE_KEY", "Public key (PEM) that every bundle must be signed with (the extra `sign`).")
    ] = None,
    data: Annotated[Path | None, _option("DATA", "Folder whose shards may be reindexed over the API.")] = None,
    live: Annotated[
        bool,
        _option("LIVE", "Keep a live store in the index directory, so that uploads can be added.", "--live/--no-live"),
    ] = True,
    workers: Annotated[
        int, _option("WORKERS", "Processes that answer, on the same ports; each has a model of its own.")
    ] = 1,
    check: Annotated[bool, _option("CHECK", "Do all that comes before listening, then exit.", "--check")] = False,
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
        grpc_port=grpc_port, answer_cache_bytes=answer_cache_bytes, body_room_bytes=body_room_bytes,
        queue_frames=queue_frames, batch_wait_ms=batch_wait_ms, drain_s=drain_s, bundles=bundles,
        bundle_key=bundle_key, data=data,
        compact_at_rows=compact_at_rows, compact_at_deleted=compact_at_deleted,
        keep_generations=keep_generations, workers=workers, traces_endpoint=traces_endpoint, traces_share=traces_share,
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
