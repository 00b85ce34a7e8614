"""`segsearch reindex | submit | evaluate`, and options that commands share. Heavy imports wait until one runs."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from segsearch.core.cli import emit
from segsearch.core.errors import ConfigError
from segsearch.service.settings import FRAME_LIMIT, cache_folder


class OnError(StrEnum):
    """What to do about a record that cannot be read."""

    stop = "stop"
    skip = "skip"


class Precision(StrEnum):
    """Which of the bundle's models runs."""

    float32 = "float32"
    int8 = "int8"
    float16 = "float16"


class Provider(StrEnum):
    """What runs the model."""

    auto = "auto"
    cpu = "cpu"
    cuda = "cuda"
    tensorrt = "tensorrt"


class Engine(StrEnum):
    """What scores the shards of a reindex."""

    local = "local"
    ray = "ray"


class Selection(StrEnum):
    """What keeps the best segments of every class."""

    auto = "auto"
    numba = "numba"
    numpy = "numpy"


BundleOption = Annotated[
    Path, typer.Option("--bundle", envvar="SEGSEARCH_BUNDLE", help="Model bundle: <name>/<version>, or <name>.")
]
IndexOption = Annotated[Path, typer.Option("--index", envvar="SEGSEARCH_INDEX", help="Index directory.")]
BatchOption = Annotated[
    int,
    typer.Option(
        envvar="SEGSEARCH_BATCH",
        help="Segments in one run of the model; 0 finds out once what this machine does best, and remembers it.",
    ),
]
ThreadsOption = Annotated[
    int,
    typer.Option(
        envvar="SEGSEARCH_THREADS",
        help="Runs of the model at a time; 0 takes one for each core, with --batch 0 what is best.",
    ),
]
ProviderOption = Annotated[
    Provider,
    typer.Option(
        envvar="SEGSEARCH_PROVIDER",
        help="auto takes CUDA where a driver loads; cuda and tensorrt are errors where they do not run.",
    ),
]
CacheOption = Annotated[
    Path,
    typer.Option(
        envvar="SEGSEARCH_CACHE", default_factory=cache_folder, show_default="~/.cache/segsearch",
        help="Folder in which --batch 0 remembers what it found.",
    ),
]  # fmt: skip
PrecisionOption = Annotated[
    Precision,
    typer.Option(
        envvar="SEGSEARCH_PRECISION",
        help="int8 is faster, on a GPU float16 is; both as exact as the bundle's manifest says.",
    ),
]
FrameLimitOption = Annotated[
    int, typer.Option(envvar="SEGSEARCH_FRAME_LIMIT", help="Longest video to score, in frames.")
]
LabelsOption = Annotated[
    Path | None, typer.Option("--labels", help="Only the classes in this CSV, as segment_label_ids.csv.")
]
SelectionOption = Annotated[
    Selection,
    typer.Option(help="Compiled loops (the extra `index`) or numpy; auto takes the faster one. Their lists are equal."),
]
ScoresOption = Annotated[
    bool, typer.Option("--scores", help="Keep the score of every segment for every tag, too: 2 bytes each.")
]
EmbeddingsOption = Annotated[
    bool, typer.Option("--embeddings", help="Keep embeddings, too, so that similar segments can be found.")
]
KeepGenerationsOption = Annotated[
    int, typer.Option(help="Generations to keep, the new one included; one that a server reads stays, too.")
]
KEEP_HELP = (
    "Segments kept for each tag, 1 to 1,000,000. No answer is longer than 100,000: what is kept beyond that moves up "
    "where segments are deleted later."
)


def reindex(
    bundle: BundleOption,
    data: Annotated[
        list[str],
        typer.Option(help="Glob of TFRecord shards, or a URL (the extra `remote`); may be given more than once."),
    ],
    index: IndexOption,
    cache: CacheOption,
    keep: Annotated[int, typer.Option(help=KEEP_HELP)] = 105_000,
    on_error: Annotated[OnError, typer.Option(help="What to do at a record that cannot be read.")] = OnError.stop,
    features: Annotated[
        str, typer.Option(help="Streams where records name them otherwise, as audio=audio_embedding:128.")
    ] = "",
    frame_limit: FrameLimitOption = FRAME_LIMIT,
    batch: BatchOption = 0,
    threads: ThreadsOption = 0,
    provider: ProviderOption = Provider.auto,
    precision: PrecisionOption = Precision.float32,
    selection: SelectionOption = Selection.auto,
    scores: ScoresOption = False,
    embeddings: EmbeddingsOption = False,
    keep_generations: KeepGenerationsOption = 3,
    engine: Annotated[Engine, typer.Option(help="Processes of this machine, or Ray actors.")] = Engine.local,
    workers: Annotated[int, typer.Option(help="Processes that score, each with a model of its own.")] = 1,
    actors: Annotated[int, typer.Option(help="With --engine ray: actors that score.")] = 2,
    ray_address: Annotated[
        str, typer.Option(help="A cluster, as auto or ray://head:10001; none: one on this machine, for this reindex.")
    ] = "",
    gpus_per_actor: Annotated[
        float, typer.Option(help="With --engine ray: GPUs for each actor, or a part of one.")
    ] = 0,
    bundle_key: Annotated[
        Path | None, typer.Option(help="Public key (PEM) that the bundle must be signed with (the extra `sign`).")
    ] = None,
) -> None:
    """Score every segment of a library and publish a new index generation; goes on where a killed one stopped.

    Uploads and deletions in the index's live store are laid over the shards.
    """
    from contextlib import ExitStack
    from dataclasses import asdict, replace

    from segsearch.core.features import FeatureSpec
    from segsearch.service.index.format import LIVE
    from segsearch.service.index.index_directory import IndexDirectory
    from segsearch.service.index.live.store import LiveStore
    from segsearch.service.jobs.engines import EngineWishes, engine_for
    from segsearch.service.jobs.library_shards import matching_shards
    from segsearch.service.jobs.reindex import check_limits
    from segsearch.service.jobs.reindex import reindex as run
    from segsearch.service.scoring.onnx_scorer import OnnxScorer
    from segsearch.service.scoring.signed import open_signed

    check_limits(keep, frame_limit, keep_generations)
    wishes = EngineWishes(
        kind=engine.value, workers=workers, actors=actors, address=ray_address or None, gpus_per_actor=gpus_per_actor
    )
    files, opened = matching_shards(data), open_signed(bundle, bundle_key)
    spec = opened.manifest.features
    if features:
        spec = replace(spec, streams=FeatureSpec.parse(features).streams)
    with ExitStack() as stack:
        live = index / LIVE
        store = stack.enter_context(LiveStore.open(live, spec.space)) if live.is_dir() else None
        scorer = stack.enter_context(
            OnnxScorer(
                opened, batch=batch, threads=threads, provider=provider.value, precision=precision.value, cache=cache
            )
        )
        done = run(
            scorer, files, IndexDirectory(index),
            keep=keep, spec=spec, frame_limit=frame_limit, skip_bad=on_error is OnError.skip,
            selection=selection.value, scores=scores, embeddings=embeddings, keep_generations=keep_generations,
            engine=engine_for(scorer, wishes, provider.value, threads), store=store,
        )  # fmt: skip
        running, tuning = scorer.provider, asdict(scorer.tuning)
    manifest = done.manifest
    emit(
        generation=manifest.number, videos=manifest.video_count, segments=manifest.segment_count,
        classes=manifest.class_count, skipped=manifest.skipped.count, broken_files=manifest.skipped.broken_files,
        unread_bytes=manifest.skipped.unread_bytes, resumed_shards=done.resumed, seconds=round(done.seconds, 3),
        segments_per_s=round(done.segments_per_s, 1), provider=running, tuning=tuning,
        neighbours=asdict(manifest.neighbours) if manifest.neighbours else None, index=str(index),
    )  # fmt: skip


def submit(
    index: IndexOption,
    out: Annotated[Path, typer.Option(help="The CSV to write.")],
    limit: Annotated[int, typer.Option(help="Segments of a class, at most; 1 to 100,000.")] = 100_000,
    labels: LabelsOption = None,
) -> None:
    """Write Kaggle's submission CSV (Class,Segments) from the published generation."""
    from segsearch.core.vocabulary import read_segment_labels
    from segsearch.service.index.format import POSTINGS_CAP
    from segsearch.service.index.index_directory import IndexDirectory
    from segsearch.service.submission import ranked_classes, write_submission

    ConfigError.check_range("limit", limit, 1, POSTINGS_CAP)
    generation = IndexDirectory(index).open_current()
    generation.verify()
    chosen = read_segment_labels(labels, generation.vocabulary) if labels else None
    classes = write_submission(out, ranked_classes(generation, limit, chosen))
    emit(generation=generation.number, classes=classes, limit=limit, out=str(out))


def evaluate(
    data: Annotated[list[str], typer.Option(help="Glob of rated shards; may be given more than once.")],
    index: Annotated[
        Path | None, typer.Option("--index", envvar="SEGSEARCH_INDEX", help="Index directory to judge.")
    ] = None,
    csv: Annotated[Path | None, typer.Option("--csv", help="Submission CSV to judge instead.")] = None,
    k: Annotated[int, typer.Option(help="Where each list is cut, 1 to 100,000.")] = 100_000,
    labels: LabelsOption = None,
    per_class: Annotated[bool, typer.Option("--per-class", help="One JSON line for each class, too.")] = False,
) -> None:
    """Measure MAP@k of an index or a submission against rated shards."""
    from segsearch.core.files import matching_files
    from segsearch.core.vocabulary import read_segment_labels
    from segsearch.service.evaluation import evaluate_generation, evaluate_submission, read_ratings, report
    from segsearch.service.index.format import POSTINGS_CAP
    from segsearch.service.index.index_directory import IndexDirectory
    from segsearch.service.submission import read_submission

    if csv is None and index is None:
        raise typer.BadParameter("give --index or --csv")
    ConfigError.check_range("k", k, 1, POSTINGS_CAP)
    files = matching_files(data)
    if csv is not None:
        chosen = read_segment_labels(labels) if labels else None  # a class that the CSV lacks counts 0
        found = evaluate_submission(read_submission(csv), read_ratings(files), k, chosen)
    else:
        assert index is not None
        generation = IndexDirectory(index).open_current()
        generation.verify()
        chosen = read_segment_labels(labels, generation.vocabulary) if labels else None
        found = evaluate_generation(generation, read_ratings(files), k, chosen)
    report(found, files[0], per_class=per_class)
