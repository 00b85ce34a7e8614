"""Both clients as one function, so that a test says each thing of both."""

import asyncio
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from segsearch.client import AsyncClient, Client

Ask = Callable[..., Any]  # ask(url, method, *arguments, client={...}, **options)


def ask_sync(url: str, method: str, *arguments: Any, client: dict[str, Any] | None = None, **options: Any) -> Any:
    """One call of a client; what yields many comes as a list."""
    with Client(url, **(client or {})) as opened:
        found = getattr(opened, method)(*arguments, **options)
        return list(found) if method == "score_many" else found


def ask_async(url: str, method: str, *arguments: Any, client: dict[str, Any] | None = None, **options: Any) -> Any:
    """The same of the other client."""

    async def call() -> Any:
        async with AsyncClient(url, **(client or {})) as opened:
            found = getattr(opened, method)(*arguments, **options)
            return [one async for one in found] if method == "score_many" else await found

    return asyncio.run(call())


both = pytest.mark.parametrize("ask", [ask_sync, ask_async], ids=["sync", "async"])


def facts(answer: Any) -> Any:
    """An answer as plain values that can be compared; NaN as a word."""
    if isinstance(answer, np.ndarray):
        return answer.dtype.kind, answer.shape, [str(value) for value in answer.ravel().tolist()]
    if isinstance(answer, list | tuple):
        return [facts(part) for part in answer]
    if hasattr(answer, "__dataclass_fields__"):
        return {name: facts(getattr(answer, name)) for name in answer.__dataclass_fields__}
    return answer
