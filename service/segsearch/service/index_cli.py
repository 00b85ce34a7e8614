"""`segsearch index list | verify | activate | compact | compare | from-matrices`: an index directory's generations.

Heavy imports wait until a command runs.
"""

from contextlib import suppress
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from segsearch.core.cli import emit
from segsearch.service.cli import KEEP_HELP, KeepGenerationsOption, ScoresOption, Selection, SelectionOption

index = typer.Typer(help="Look after the generations of an index.", no_args_is_help=True)

IndexArgument = Annotated[Path, typer.Argument(metavar="INDEX", help="Index directory.")]
MatricesArgument = Annotated[
    list[Path], typer.Argument(metavar="MATRIX...", help="Score matrices over the same segments and classes.")
]


class Way(StrEnum):
    """What is averaged."""

    probability = "probability"
    logit = "logit"


JsonOption = Annotated[bool, typer.Option("--json", help="JSON lines in place of a table.")]


@index.command("list")
def list_(index: IndexArgument, as_json: JsonOption = False) -> None:
    """The generations that are there, and which one answers."""
    from segsearch.service.index.generation_report import described
    from segsearch.service.index.index_directory import IndexDirectory

    rows = described(IndexDirectory(index))
    if as_json:
        for row in rows:
            emit(**row)
    else:
        _table(rows)


@index.command()
def verify(
    index: IndexArgument,
    number: Annotated[int | None, typer.Argument(help="Which generation; the current one unless told.")] = None,
) -> None:
    """Read all of a generation: sums, offsets, order, ranges. Names the first fault by file and place, and exits 1."""
    from segsearch.service.index.index_directory import IndexDirectory
    from segsearch.service.index.verification import verify_order

    directory = IndexDirectory(index)
    generation = directory.open_current() if number is None else directory.open(number)
    generation.verify()
    verify_order(generation)
    manifest = generation.manifest
    emit(
        generation=manifest.number, segments=manifest.segment_count, classes=manifest.class_count,
        postings=manifest.posting_count, scores=generation.scores is not None,
        embeddings=generation.neighbours is not None, files=len(manifest.files),
        bytes=sum(file.bytes for file in manifest.files.values()),
    )  # fmt: skip


@index.command()
def activate(
    index: IndexArgument, number: Annotated[int, typer.Argument(help="The generation that is to answer.")]
) -> None:
    """Make a generation current that is there, once it has been verified; a running server switches by itself."""
    from segsearch.core.errors import NoGeneration
    from segsearch.service.index.index_directory import IndexDirectory

    directory = IndexDirectory(index)
    before = None
    with suppress(NoGeneration):
        before = directory.current()
    emit(generation=directory.activate(number).number, before=before, index=str(index))


@index.command()
def compact(
    index: IndexArgument,
    keep_generations: Annotated[
        int,
        typer.Option(help="Generations by the same bundle to keep, the new one included; those by others all stay."),
    ] = 3,
) -> None:
    """Publish a generation of what can be found now, uploads and deletions included; a server switches to it."""
    from segsearch.core.errors import LiveStoreMissing
    from segsearch.service.index.format import LIVE
    from segsearch.service.index.index_directory import IndexDirectory
    from segsearch.service.index.live.store import LiveStore
    from segsearch.service.jobs import compaction

    directory = IndexDirectory(index)
    space = directory.open_current().manifest.feature_space
    if not (index / LIVE).is_dir():
        raise LiveStoreMissing(index)
    with LiveStore.open(index / LIVE, space, readonly=True) as store:
        done = compaction.compact(directory, store, keep_generations=keep_generations)
    if done is None:
        emit(generation=directory.current(), changed=False, index=str(index))
        return
    emit(
        generation=done.manifest.number, changed=True, segments=done.manifest.segment_count, added=done.added,
        removed=done.removed, seconds=round(done.seconds, 3), index=str(index),
    )  # fmt: skip


@index.command()
def compare(
    index: IndexArgument,
    older: Annotated[int, typer.Argument(help="A generation.")],
    newer: Annotated[int, typer.Argument(help="The one that it is compared with.")],
    data: Annotated[list[str] | None, typer.Option(help="Glob of rated shards, to judge both; repeatable.")] = None,
    k: Annotated[int, typer.Option(help="How much of each list is compared, 1 to 100,000.")] = 1_000,
    as_json: JsonOption = False,
) -> None:
    """Two generations side by side: for each tag, how much of its list stayed and how far it moved; MAP of both."""
    from segsearch.core.errors import ConfigError, DataError
    from segsearch.core.files import matching_files
    from segsearch.service import comparison
    from segsearch.service.evaluation import read_ratings
    from segsearch.service.index.format import POSTINGS_CAP
    from segsearch.service.index.index_directory import IndexDirectory

    ConfigError.check_range("k", k, 1, POSTINGS_CAP)
    files = matching_files(data) if data else []
    ratings = read_ratings(files) if files else None
    if ratings is not None and not any(map(ratings.positives, ratings.by_class)):
        raise DataError(files[0], None, "ratings", "no class with a positive rating", "at least one")
    opened = [IndexDirectory(index).open(number) for number in (older, newer)]
    for generation in opened:
        generation.verify()
    found = comparison.compare(opened[0], opened[1], k, ratings)
    rows, summary = comparison.tag_rows(found), comparison.summary(found)
    if as_json:
        for row in (*rows, {"before": older, "after": newer, **summary}):
            emit(**row)
        return
    _table([{name: row[name] for name in row if name != "label_index"} for row in rows])
    print(", ".join(f"{name.replace('_', ' ')} {_cell(value)}" for name, value in summary.items()))


@index.command("from-matrices")
def from_matrices(
    index: IndexArgument,
    matrices: MatricesArgument,
    weights: Annotated[str, typer.Option(help="What each matrix counts, as 2,1,1; all the same unless told.")] = "",
    way: Annotated[Way, typer.Option(help="Probabilities are averaged, as the paper does, or logits.")] = (
        Way.probability
    ),
    vocabulary: Annotated[
        Path | None, typer.Option(help="CSV with the classes' names; those of the current generation unless told.")
    ] = None,
    name: Annotated[str, typer.Option(help="What stands for the bundle's name in answers.")] = "matrices",
    keep: Annotated[int, typer.Option(help=KEEP_HELP)] = 105_000,
    selection: SelectionOption = Selection.auto,
    scores: ScoresOption = False,
    keep_generations: KeepGenerationsOption = 3,
) -> None:
    """Publish a generation of the weighted mean of score matrices, without scoring again."""
    from segsearch.core.vocabulary import Vocabulary
    from segsearch.service.index.index_directory import IndexDirectory
    from segsearch.service.jobs.from_matrices import Mean, index_matrices, vocabulary_of
    from segsearch.service.scoring.machine import core_count

    directory = IndexDirectory(index)
    if vocabulary is None and not directory.numbers():
        raise typer.BadParameter("give --vocabulary: the index has no generation yet whose names could be taken")
    mean = Mean.of(matrices, _numbers(weights), way.value)
    names = Vocabulary.read(vocabulary) if vocabulary else directory.open_current().vocabulary
    source = str(vocabulary) if vocabulary else f"the current generation of {index}"
    done = index_matrices(
        mean, vocabulary_of(mean.matrices[0], names, source), directory, name=name, keep=keep, scores=scores,
        keep_generations=keep_generations, selection=selection.value, threads=core_count(),
    )  # fmt: skip
    emit(
        generation=done.manifest.number, matrices=len(mean.matrices), way=way.value, weights=mean.weights,
        videos=done.manifest.video_count, segments=done.manifest.segment_count, classes=done.manifest.class_count,
        seconds=round(done.seconds, 3), index=str(index),
    )  # fmt: skip


def _numbers(text: str) -> list[float]:
    try:
        return [float(number) for number in text.split(",")] if text else []
    except ValueError:
        raise typer.BadParameter(f"{text!r}; wanted numbers, as 2,1,1", param_hint="--weights") from None


def _table(rows: list[dict[str, Any]]) -> None:
    """Columns under the names of the facts, numbers to the right."""
    lines = [list(rows[0]), *([_cell(value) for value in row.values()] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    numeric = [isinstance(value, (int, float)) for value in rows[0].values()]
    for line in lines:
        cells = zip(line, widths, numeric, strict=True)
        print("  ".join(cell.rjust(width) if right else cell.ljust(width) for cell, width, right in cells).rstrip())


def _cell(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.4f}"
    return f"{value:,}" if isinstance(value, int) else str(value)
