"""`segsearch keys new | list`: makes API keys and shows who has one. Heavy imports wait until a command runs."""

from pathlib import Path
from typing import Annotated

import typer

from segsearch.core.cli import emit
from segsearch.core.errors import ConfigError
from segsearch.service.security.keys import KEY_ID, KEY_ID_WANTED, Scope, make_key

keys = typer.Typer(help="API keys of a server.", no_args_is_help=True)

FileOption = Annotated[
    Path, typer.Option("--keys", envvar="SEGSEARCH_KEYS", help="File of keys, as `segsearch serve --keys` reads it.")
]


@keys.command("new")
def new(
    key_id: Annotated[str, typer.Argument(metavar="ID", help="Whose key: stands in logs, so no secret.")],
    file: FileOption,
    scope: Annotated[Scope, typer.Option(help="read searches; write also scores uploads; admin also switches.")],
) -> None:
    """Make a key, show it once, and add its hash to the file. A running server takes it at once."""
    from segsearch.service.security.key_file import add_key

    if not KEY_ID.fullmatch(key_id):
        raise ConfigError("id", key_id, KEY_ID_WANTED)
    key, kept = make_key(key_id, scope)
    add_key(file, kept)
    emit(id=key_id, scope=scope.value, key=key, file=str(file))


@keys.command("list")
def list_keys(file: FileOption) -> None:
    """Say whose keys are in the file, and what each may do."""
    from segsearch.service.security.key_file import read_keys

    for key in read_keys(file).values():
        emit(id=key.id, scope=key.scope.value)
