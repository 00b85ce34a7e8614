"""A line between two processes by which either may call the other: one JSON object a line, over a socket.

Where it stands: the parent (`workers`) has one to each `worker`. What they say are plain values; nothing is unpickled.
"""

import itertools
import json
import socket
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from contextlib import suppress
from typing import Any, Final

Answers = Mapping[str, Callable[..., Any]]  # by the name of what is called


class LinkEnded(ConnectionError):
    """The process at the other end is gone."""


class Link:
    """One end. Any number of threads may call; each call from the other end runs in a thread of its own."""

    def __init__(self, joined: socket.socket, answers: Answers, ended: Callable[[], object]):
        """ended: called once the other end is gone."""
        self._socket, self._answers, self._ended = joined, answers, ended
        self._numbers = itertools.count()
        self._sending: Final = threading.Lock()
        self._waiting: dict[int, Future[Any]] = {}
        self._over = False
        threading.Thread(target=self._listen, name="link", daemon=True).start()

    def call(self, what: str, *given: Any) -> Any:
        """What the other end answers, however long that takes; raises LinkEnded."""
        return self.begin(what, *given).result()

    def begin(self, what: str, *given: Any) -> Future[Any]:
        """The same, to wait for later."""
        answer: Future[Any] = Future()
        number = next(self._numbers)
        self._waiting[number] = answer
        try:
            self._send({"call": number, "what": what, "given": given})
        except OSError:
            self._end()
        if self._over:  # perhaps after the last look at what was waiting
            self._fail(number)
        return answer

    def _send(self, message: dict[str, Any]) -> None:
        line = json.dumps(message).encode() + b"\n"
        with self._sending:
            self._socket.sendall(line)

    def _listen(self) -> None:
        with suppress(OSError, ValueError), self._socket.makefile("rb") as lines:  # ValueError: half a line, then death
            for line in lines:
                message = json.loads(line)
                if "call" in message:
                    threading.Thread(target=self._answer, args=(message,), name="link-call", daemon=True).start()
                else:
                    self._answered(message)
        self._end()
        self._ended()

    def _answer(self, message: dict[str, Any]) -> None:
        reply: dict[str, Any] = {"answer": message["call"]}
        try:
            reply["value"] = self._answers[message["what"]](*message["given"])
        except Exception as error:  # a bug: it is the caller's to tell of
            reply["error"] = repr(error)
        with suppress(OSError):
            self._send(reply)

    def _answered(self, message: dict[str, Any]) -> None:
        answer = self._waiting.pop(message["answer"], None)
        if answer is None:
            return
        if "error" in message:
            answer.set_exception(RuntimeError(message["error"]))
        else:
            answer.set_result(message["value"])

    def _end(self) -> None:
        self._over = True
        for number in list(self._waiting):
            self._fail(number)

    def _fail(self, number: int) -> None:
        answer = self._waiting.pop(number, None)
        if answer is not None:
            answer.set_exception(LinkEnded("the other process is gone"))
