"""A folder behind HTTP on a socket of this machine, with a page of links for each folder, as object stores have it."""

import functools
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path


@contextmanager
def serving_files(folder: Path, cut_bytes: int = 0) -> Iterator[tuple[str, list[tuple[str, str]]]]:
    """The folder's URL, and a list of the requests that came: method and path.

    cut_bytes: every answer that is a shard breaks off so many bytes before the end that was promised.
    """
    asked = []

    class Handler(SimpleHTTPRequestHandler):
        def log_message(self, *_):
            asked.append((self.command, self.path))

        def copyfile(self, source, outputfile):
            content = source.read()
            outputfile.write(content[: len(content) - cut_bytes] if self.path.endswith(".tfrecord") else content)

    http = ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Handler, directory=str(folder)))
    thread = threading.Thread(target=http.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{http.server_address[1]}", asked
    finally:
        http.shutdown()
        http.server_close()
        thread.join()
