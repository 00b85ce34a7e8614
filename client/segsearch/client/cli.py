"""`segsearch score | search | similar`: asks a server that runs. Heavy imports wait until a command does."""

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from segsearch.core.cli import emit

if TYPE_CHECKING:
    from segsearch.client.clients import Client
    from segsearch.client.tables import Found
    from segsearch.client.uploads import Upload

HERE = "http://127.0.0.1:8000"
UrlOption = Annotated[
    str,
    typer.Option(
        "--url", envvar="SEGSEARCH_URL", help="Where the server is: http, https, grpc or grpcs, host and port."
    ),
]
KeyOption = Annotated[
    str | None,
    typer.Option(
        "--key", envvar="SEGSEARCH_KEY",
        help="API key; better in the variable, as others on this machine can read command lines.",
    ),
]  # fmt: skip
AuthorityOption = Annotated[
    Path | None,
    typer.Option("--tls-ca", envvar="SEGSEARCH_TLS_CA", help="Authority (PEM) of the server's certificate."),
]
TimeoutOption = Annotated[
    float,
    typer.Option(
        "--timeout-s", envvar="SEGSEARCH_TIMEOUT_S", help="How long an answer may take, other tries included."
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="JSON lines in place of a table.")]


def search(
    tag: Annotated[str, typer.Argument(help="A tag, or several joined by and, or, not.")],
    url: UrlOption = HERE,
    k: Annotated[int, typer.Option("-k", help="How many segments.")] = 20,
    min_score: Annotated[float, typer.Option(help="Only segments with at least this probability.")] = 0.0,
    per_video: Annotated[int | None, typer.Option(help="No more than so many segments of one video.")] = None,
    moments: Annotated[bool, typer.Option("--moments", help="Adjacent segments as one moment.")] = False,
    as_json: JsonOption = False,
    key: KeyOption = None,
    tls_ca: AuthorityOption = None,
    timeout_s: TimeoutOption = 60.0,
) -> None:
    """Ask a server for the segments that show a tag, best first."""
    from segsearch.core.progress import say

    with _client(url, key, tls_ca, timeout_s) as client:
        ask = client.moments if moments else client.search
        found = ask(tag, k, min_score=min_score, per_video=per_video)
    _show(found, as_json)
    more = "" if found.complete else "; the index does not keep what comes next"
    say(f"{len(found)} of generation {found.generation.number} at change {found.sequence}{more}")


def similar(
    segment: Annotated[str, typer.Argument(help="A segment of the library, as <video id>:<first second>.")],
    url: UrlOption = HERE,
    k: Annotated[int, typer.Option("-k", help="How many segments.")] = 20,
    as_json: JsonOption = False,
    key: KeyOption = None,
    tls_ca: AuthorityOption = None,
    timeout_s: TimeoutOption = 60.0,
) -> None:
    """Ask a server for the segments most like one."""
    from segsearch.core.progress import say
    from segsearch.core.segments import parse_segment_id

    with _client(url, key, tls_ca, timeout_s) as client:
        found = client.similar(*parse_segment_id(segment), k)
    _show(found, as_json)
    say(f"{len(found)} of generation {found.generation.number} at change {found.sequence}, recall {found.recall:.3f}")


def score(
    source: Annotated[Path, typer.Argument(metavar="FILE", help="A .tfrecord shard, or one video as .npy or .npz.")],
    url: UrlOption = HERE,
    top: Annotated[int, typer.Option(help="How many tags a segment.")] = 5,
    index: Annotated[bool, typer.Option("--index", help="Also add each video to the library.")] = False,
    video_id: Annotated[
        str | None, typer.Option(help="Names the video of an array; of a shard, takes this video alone.")
    ] = None,
    concurrency: Annotated[int, typer.Option(help="Videos on their way at a time.")] = 4,
    as_json: JsonOption = False,
    key: KeyOption = None,
    tls_ca: AuthorityOption = None,
    timeout_s: TimeoutOption = 60.0,
) -> None:
    """Have a server score videos: every segment with its best tags. Exits with 1 if any video was refused."""
    from segsearch.client.clients import Failures
    from segsearch.client.tables import print_scores, score_row
    from segsearch.core.progress import say

    failures: Failures = {}
    with _client(url, key, tls_ca, timeout_s) as client:
        for found in client.score_many(
            _uploads(source, video_id), top=top, index=index, concurrency=concurrency, failures=failures
        ):
            if as_json:
                emit(**score_row(found))
            else:
                print_scores(found)
    for name, error in failures.items():
        say(f"{name}: {error}")
    if failures:
        raise typer.Exit(1)


def _show(found: "Found", as_json: bool) -> None:
    from segsearch.client.tables import print_found, rows_of

    if as_json:
        for row in rows_of(found):
            emit(**row)
    else:
        print_found(found)


def _uploads(source: Path, video_id: str | None) -> "Iterable[Upload]":
    """All videos of a shard, unless one of them is named; or the one of another file."""
    from segsearch.client.uploads import SHARD, upload_of, uploads_in

    return uploads_in(source) if source.suffix == SHARD and video_id is None else [upload_of(source, video_id)]


def _client(url: str, key: str | None, tls_ca: Path | None, timeout_s: float) -> "Client":
    from segsearch.client.clients import Client

    return Client(url, key=key, timeout_s=timeout_s, verify=tls_ca or True)
