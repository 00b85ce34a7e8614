"""The client of `segsearch serve`: sync and async, numpy in and out.

`clients` is what people call. `calls` describes every call once, with what it sends (`uploads`) and what comes back
(`answers`); `outcomes` says how an attempt can end, `retries` when there is another; only `rest` knows HTTP.

The names below load when they are asked for: the command's entry points lie in this package, and `--help` stays light.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from segsearch.client.clients import AsyncClient, Client
    from segsearch.client.retries import Retries
    from segsearch.client.uploads import Upload, uploads_in

__all__ = ["AsyncClient", "Client", "Retries", "Upload", "uploads_in"]

_HOMES: Final = {
    "AsyncClient": "clients", "Client": "clients", "Retries": "retries", "Upload": "uploads", "uploads_in": "uploads",
}  # fmt: skip

if not TYPE_CHECKING:

    def __getattr__(name: str) -> Any:
        if name not in _HOMES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
