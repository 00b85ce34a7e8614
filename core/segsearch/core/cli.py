"""The `segsearch` command: a host for subcommands that each package brings as an entry point.

Modules named in the entry points import nothing heavy at the top, so that `--help` answers at once and
`segsearch serve` never meets TensorFlow. Machine output goes to stdout as JSON lines, talk to stderr.
Exit codes: 0 done, 1 failed, 2 misused.
"""

import json
import sys
from importlib.metadata import entry_points, version
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from segsearch.core.errors import SegsearchError

_ORDER = (
    "sample", "download", "train", "score-matrix", "ensemble", "level-two", "distil", "import-checkpoint", "export",
    "bundle", "reindex", "index", "submit", "evaluate", "serve", "keys", "score", "search", "similar",
)  # fmt: skip


def emit(**facts: Any) -> None:
    """One JSON line on stdout."""
    print(json.dumps(facts), flush=True)


class _InOrder(TyperGroup):
    """Lists the commands in the order of the data's way, and those it does not know behind them."""

    def list_commands(self, ctx: Any) -> list[str]:
        names = super().list_commands(ctx)
        return sorted(names, key=lambda name: (_ORDER.index(name) if name in _ORDER else len(_ORDER), name))


def build() -> typer.Typer:
    """The command with every installed subcommand; an entry point may be a function or a group of them."""
    app = typer.Typer(
        name="segsearch",
        cls=_InOrder,
        help="Finds the moment: ranks the 5-second segments of a video library by tag.",
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
    )

    @app.callback()
    def root(
        show_version: Annotated[
            bool, typer.Option("--version", is_eager=True, callback=_print_version, help="Print the version and exit.")
        ] = False,
    ) -> None:
        pass

    for entry in entry_points(group="segsearch.commands"):
        command = entry.load()
        if isinstance(command, typer.Typer):
            app.add_typer(command, name=entry.name)
        else:
            app.command(entry.name)(command)
    return app


def main() -> None:
    """Runs the command line; a SegsearchError becomes one line on stderr and exit code 1."""
    try:
        build()()
    except SegsearchError as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(1) from None
    except OSError as error:
        # A full disk or a missing permission is the user's to mend: name it, without a traceback.
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(1) from None


def own_process(*words: str) -> list[str]:
    """What starts a segsearch command in a process of its own, whichever folder that is in."""
    # -P: what lies in that folder is no module of ours.
    return [sys.executable, "-P", "-c", "from segsearch.core.cli import main; main()", *words]


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"segsearch {version('segsearch')}")
        raise typer.Exit
