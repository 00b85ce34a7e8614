"""`segsearch import-checkpoint`: trained networks of the public reference systems, for use here."""

from pathlib import Path
from typing import Annotated, Any

import typer

from segsearch.core.cli import emit
from segsearch.core.errors import ConfigError
from segsearch.core.progress import say
from segsearch.training.backend import require_tensorflow

TOLERANCE = 1e-5  # what float32 sums in another order may differ by


def import_checkpoint(
    source: Annotated[
        Path,
        typer.Argument(
            help="A TensorFlow checkpoint (prefix or folder) with model_flags.json beside it, or an .npz with meta, "
            "var/<name> and, for --check, inputs and outputs."
        ),
    ],
    out: Annotated[Path, typer.Option(help="Folder for the checkpoint, as `segsearch export` reads it.")],
    check: Annotated[
        bool,
        typer.Option(
            "--check",
            help="Compare with the outputs in the .npz: prints max_abs_difference, exits 1 and writes nothing above "
            "1e-5.",
        ),
    ] = False,
    vocabulary: Annotated[
        Path | None, typer.Option(help="Classes in output order, as CSV with Index and Name; default: numbered.")
    ] = None,
    system: Annotated[
        str | None,
        typer.Option(
            help="Whose code trained it: google, willow, skalic, linrongc or linrongc_v3; default: as the source says, "
            "else who published the model."
        ),
    ] = None,
    flags: Annotated[
        list[str] | None,
        typer.Option("--flag", help="A flag it was trained with, as in dbof_activation=relu6; repeatable."),
    ] = None,
    context_frames: Annotated[
        int, typer.Option(min=0, help="Frames each side of a segment that the network is to see.")
    ] = 0,
) -> None:
    """Make a checkpoint of a reference system's trained network."""
    from segsearch.core.vocabulary import Vocabulary

    told = _flags(flags or ())
    names = Vocabulary.read(vocabulary) if vocabulary else None
    require_tensorflow("import-checkpoint")

    from segsearch.training.reference.importing import Imported
    from segsearch.training.reference.variables import Reference

    imported = Imported.of(Reference.read(source, system, told), out, names, context_frames)
    if check:
        _check(imported)
    imported.checkpoint.write(imported.network)
    reference = imported.reference
    emit(
        checkpoint=str(out),
        system=reference.system,
        model=reference.model,
        classes=len(imported.checkpoint.vocabulary),
        parameters=imported.network.count_params(),
    )


def _check(imported: Any) -> None:
    """Prints the largest difference; raises ImportDiffers naming the first output that is not the reference's."""
    from segsearch.training.errors import ImportDiffers

    found = imported.differences()
    for name, difference in found.items():
        say(f"{name}: differs by {difference:.2e}")
    # A difference that is no number is the largest of all.
    worst = max(found, key=lambda name: (found[name] != found[name], found[name]))
    print(f"max_abs_difference {found[worst]:.3e}", flush=True)
    if not found[worst] <= TOLERANCE:
        raise ImportDiffers(imported.reference.source, worst, found[worst], TOLERANCE)


def _flags(texts: list[str] | tuple[str, ...]) -> dict[str, Any]:
    flags: dict[str, Any] = {}
    for text in texts:
        name, sign, value = text.partition("=")
        if not sign:
            raise ConfigError("--flag", text, "name=value, as in dbof_activation=relu6")
        flags[name] = value
    return flags
