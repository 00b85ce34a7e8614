"""Searches answered in the manner of clip-retrieval's back end: our own small imitation of it, not its code.

What it does (rom1504/clip-retrieval, `clip_back.py`): a POST of JSON says what is sought and how many; row numbers and
similarities come from an index; a provider gives each row's metadata as a dict, to which id and similarity are added;
the list of dicts goes through `json.dumps`.

Where it is faster than that: there is no embedding and no index to ask, as the lists are at hand; the metadata are
dicts in memory, where clip-retrieval reads them row by row from Parquet, Arrow or HDF5; and a server meant for it
stands in front, not Flask's own. `serving_peers` runs each of the two below in a process of its own.
"""

import json
import logging
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np

from segsearch.core.score_codes import PROBABILITIES
from segsearch.core.vocabulary import ClassOrdinal
from segsearch.service.index.index_directory import IndexDirectory
from segsearch.service.server import bind
from segsearch.service.settings import Settings

PATH, JSON = "/knn-service", "application/json"
THREADS = 8  # one for each connection that asks


def asked(tag: str, k: int) -> bytes:
    """The body of a request."""
    return json.dumps({"text": tag, "num_images": k}).encode()


class Searcher:
    """What stands behind both servers."""

    def __init__(self, root: Path):
        generation = IndexDirectory(root).open_current()
        manifest = generation.manifest
        ids, starts = generation.segments(np.arange(manifest.segment_count, dtype=np.uint32))
        self._metadata = [{"video": video, "start_s": start} for video, start in zip(ids, starts.tolist(), strict=True)]
        self._lists: dict[str, tuple[list[int], list[float]]] = {}
        for number, entry in enumerate(generation.vocabulary.entries):
            rows, codes = generation.postings(ClassOrdinal(number), manifest.limit)
            self._lists[entry.name] = rows.tolist(), PROBABILITIES[codes].tolist()

    def answer(self, body: bytes) -> str:
        """The best for what a request asks, best first."""
        wanted = json.loads(body)
        count = wanted["num_images"]
        rows, similarities = self._lists[wanted["text"]]
        return json.dumps([
            {**self._metadata[row], "id": row, "similarity": similarity}
            for row, similarity in zip(rows[:count], similarities[:count], strict=True)
        ])  # fmt: skip


def flask_on_waitress(root: Path, told: Connection) -> None:
    """Serves until the process is ended; tells the port."""
    from flask import Flask, Response, request
    from waitress.server import create_server

    searcher, app = Searcher(root), Flask(__name__)

    @app.post(PATH)
    def knn() -> Response:
        return Response(searcher.answer(request.get_data()), mimetype=JSON)

    logging.getLogger("waitress.queue").setLevel(logging.ERROR)  # it tells of each request that waits
    listening = bind(Settings(port=0))
    server = create_server(app, sockets=[listening], threads=THREADS)
    told.send(listening.getsockname()[1])
    server.run()


def starlette_on_uvicorn(root: Path, told: Connection) -> None:
    """The same on the server that ours stands on, too, with what makes that fast."""
    import uvicorn
    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.routing import Route

    searcher = Searcher(root)

    async def knn(request: Request) -> Response:
        return Response(searcher.answer(await request.body()), media_type=JSON)

    listening = bind(Settings(port=0))
    told.send(listening.getsockname()[1])
    app = Starlette(routes=[Route(PATH, knn, methods=["POST"])])
    uvicorn.Server(uvicorn.Config(app, log_level="warning", access_log=False)).run(sockets=[listening])
