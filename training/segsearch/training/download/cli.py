"""`segsearch download`: public shards into a folder, as `segsearch train --data` wants them; no TensorFlow needed."""

from pathlib import Path
from typing import Annotated

import typer

from segsearch.core.cli import emit
from segsearch.core.errors import ConfigError


def download(
    dataset: Annotated[str, typer.Argument(help="What to fetch; yt8m, that is YouTube-8M, is what there is.")],
    part: Annotated[
        str, typer.Option(help="Release, level and split: 2/frame/train, 3/frame/validate (rated segments) and so on.")
    ],
    out: Annotated[Path, typer.Option(help="Folder for the shards; the same command goes on where it was stopped.")],
    mirror: Annotated[str, typer.Option(help="The nearest of Google's servers: us, eu or asia.")] = "us",
    shard: Annotated[str, typer.Option(help="i,n: the i-th of n slices of the part's files, the same every time.")] = (
        "1,1"
    ),
    base_url: Annotated[
        str | None, typer.Option(help="Another server with the same paths (http or https), instead of Google's.")
    ] = None,
    retries: Annotated[int, typer.Option(min=0, help="Further attempts a file, when the line or the md5 fails.")] = 5,
) -> None:
    """Fetch public shards, checked by their md5; what lies there whole already is not fetched again."""
    from segsearch.training.download.transfer import Transfer
    from segsearch.training.download.youtube8m import Shard, Source, fetch_part

    if dataset != "yt8m":
        raise ConfigError("DATASET", dataset, "yt8m")
    source = Source(part=part, mirror=mirror, shard=Shard.parse(shard), base_url=base_url)
    result = fetch_part(source, out, Transfer(retries))
    emit(
        dataset=dataset,
        part=part,
        shard=shard,
        out=str(out),
        files=result.files,
        fetched=result.fetched,
        skipped=result.skipped,
        bytes=result.received_bytes,
        failed=[error.url for error in result.failures],
    )
    if result.failures:
        raise result.failures[0]
