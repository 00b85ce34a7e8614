"""`segsearch export`."""

import os
from pathlib import Path
from typing import Annotated

import typer

from segsearch.core.cli import emit
from segsearch.core.errors import MissingExtra
from segsearch.core.files import matching_files
from segsearch.core.progress import say


def export(
    checkpoint: Annotated[Path, typer.Argument(help="Directory of a trained checkpoint, e.g. RUN/final.")],
    out: Annotated[Path, typer.Option(help="Where bundles lie; the new one becomes OUT/NAME/VERSION.")],
    name: Annotated[str, typer.Option(help="Name of the bundle; the checkpoint's run by default.")] = "",
    version: Annotated[int, typer.Option(help="Version number of the bundle; 0 takes the next free one.")] = 0,
    force: Annotated[bool, typer.Option("--force", help="Replace a version that is there already.")] = False,
    data: Annotated[
        list[str] | None, typer.Option(help="Shards whose first videos become golden segments; made up without.")
    ] = None,
    rated: Annotated[
        list[str] | None,
        typer.Option(help="Glob of rated shards: the MAP@100k of every model on them goes into the manifest."),
    ] = None,
    sign_key: Annotated[
        Path | None, typer.Option(help="Private elliptic-curve key (PEM) to sign the bundle with; needs [sign].")
    ] = None,
    embedding_size: Annotated[
        int, typer.Option(help="Numbers in an embedding, by PCA over the first videos of --data; 0 keeps all.")
    ] = 0,
) -> None:
    """Turn a checkpoint into a verified model bundle (ONNX, manifest, vocabulary)."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    from segsearch.core.videos import read_videos

    try:
        from segsearch.export.packing import pack
        from segsearch.export.rated import RatedShards
        from segsearch.export.signing import signer
        from segsearch.training.checkpoint import Checkpoint
    except ModuleNotFoundError as error:
        raise MissingExtra("export", "train,cpu", error.name or "TensorFlow") from None
    loaded = Checkpoint.load(checkpoint)
    videos = read_videos(matching_files(data), loaded.features) if data else ()
    ratings = RatedShards(matching_files(rated), _split(rated)) if rated else None
    sign = signer(sign_key) if sign_key else None
    say(f"exporting {checkpoint}")
    packed = pack(
        loaded, out, name or loaded.run, version, videos, embedding_size, rated=ratings, sign=sign, replace=force
    )
    emit(
        bundle=str(packed.directory),
        model_bytes=packed.model_bytes,
        classes=len(loaded.vocabulary),
        max_abs_difference=packed.differences,
        graphs={
            graph.file: {
                "layout": graph.layout,
                "difference": graph.difference,
                **{metric.name: metric.value for metric in graph.metrics},
            }
            for graph in packed.graphs
        },
    )


def _split(patterns: list[str]) -> str:
    """What the rated shards are called: their patterns, without the folders, which are of no use elsewhere."""
    return ", ".join(Path(pattern).name for pattern in patterns)
