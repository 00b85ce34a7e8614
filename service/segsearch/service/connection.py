"""One HTTP connection that waits for no client for ever: uvicorn's, with clocks, and a place among the others.

Where it stands: `server` gives it to uvicorn; how long a body may take is the edge's own limit, as it can answer. Here
nobody is left to answer: a head that does not come, the rest of a body that was refused, an answer that is not taken.
Where there are more connections than the process can have, the one that has been silent for longest makes room.

What is no HTTP request is answered here, too. An answer that the application has whole is written at once, as
`whole_answer` has it; all others by uvicorn.
"""

import asyncio
from collections.abc import Awaitable
from typing import Any, ClassVar, Final

import h11
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol, RequestResponseCycle

from segsearch.service.ended_connections import ENDED, Why, malformed
from segsearch.service.open_files import connection_cap
from segsearch.service.whole_answer import END, begun, head_of

# Whoever takes less of an answer in `write_timeout_s` takes none of it.
_PROGRESS_BYTES: Final = 64 << 10
_HEADER_LIMIT: Final = 100
_ONE_WRITE_BYTES: Final = 64 << 10  # content that is copied behind its head; to copy more would cost more than a write
_TWO_LENGTHS: Final = {b"content-length", b"transfer-encoding"}


class _Parser(h11.Connection):
    """Refuses what h11 lets pass: very many headers, and a request that says in two ways how long its body is. A proxy
    before us may have believed the other one, and taken for a body what we would take for the next request.
    """

    def next_event(self) -> h11.Event | type[h11.NEED_DATA] | type[h11.PAUSED]:
        """See h11.Connection."""
        event = super().next_event()
        if isinstance(event, h11.Request):
            names = [name for name, _ in event.headers]
            if len(names) > _HEADER_LIMIT or _TWO_LENGTHS.issubset(names):
                raise h11.RemoteProtocolError("too many headers, or two lengths", error_status_hint=400)
        return event


class Connection(H11Protocol):
    """Closes a connection whose client is late with what it owes."""

    head_timeout_s: ClassVar[float] = 10.0  # from the connection, or the last answer, to the end of a request's head
    rest_timeout_s: ClassVar[float] = 5.0  # from an answer to the end of the body that it did not wait for
    write_timeout_s: ClassVar[float] = 60.0  # to take some of an answer that lies ready

    def __init__(self, *arguments: Any, **named: Any):
        super().__init__(*arguments, **named)
        self.conn = _Parser(h11.SERVER)
        self._application: ASGIApp = self.app
        self.app = self._run
        self._owed_s: float | None = None  # the limit that runs
        self._clock: asyncio.TimerHandle | None = None
        self._write_clock: asyncio.TimerHandle | None = None

    def _run(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        """The application, as uvicorn runs it: the head of an answer waits for its content."""
        cycle, start = self.cycle, None

        async def at_once(message: Message) -> None:
            nonlocal start
            if start is None and message["type"] == "http.response.start" and not cycle.response_started:
                start = message
                return
            if start is not None:
                held, start = start, None
                if self._wrote(cycle, held, message):
                    return
                await send(held)
            await send(message)

        return self._application(scope, receive, at_once)

    def _wrote(self, cycle: RequestResponseCycle, start: Message, body: Message) -> bool:
        """Writes an answer that is whole, on a connection that stays open: what uvicorn does in two messages."""
        if self.conn.their_state is not h11.DONE or cycle.disconnected or not cycle.keep_alive:
            return False
        if self.flow.write_paused or cycle.scope["method"] == "HEAD":
            return False
        head = head_of(start, body, cycle.default_headers)
        if head is None:
            return False
        self.conn.send(begun(start["status"]))
        self.conn.send(END)
        content = body.get("body", b"")
        if len(content) <= _ONE_WRITE_BYTES:
            self.transport.write(head + content)
        else:
            self.transport.write(head)
            self.transport.write(content)
        cycle.response_started = cycle.response_complete = True
        cycle.message_event.set()
        cycle.on_response()
        return True

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """See asyncio.Protocol."""
        super().connection_made(transport)
        self._watch()
        if len(self.connections) > connection_cap():
            self._make_room()

    def data_received(self, data: bytes) -> None:
        """See asyncio.Protocol."""
        super().data_received(data)
        self._watch()

    def on_response_complete(self) -> None:
        """See H11Protocol."""
        super().on_response_complete()
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        """See asyncio.Protocol."""
        super().connection_lost(exc)
        for clock in (self._clock, self._write_clock):
            if clock is not None:
                clock.cancel()

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002 - the same words whatever came
        """To what is no HTTP request, head or body: see H11Protocol, whose own is plain text."""
        cycle, refusal = self.cycle, malformed()
        unanswered = cycle is not None and not cycle.response_complete
        if not (unanswered and cycle.response_started):
            self.transport.write(refusal)
        if unanswered:  # the application writes nothing behind it
            cycle.disconnected = True
            cycle.message_event.set()
        self.transport.close()

    def pause_writing(self) -> None:
        """The client does not take what lies ready: see asyncio.Protocol."""
        super().pause_writing()
        if self._write_clock is None:
            self._watch_writing()

    def resume_writing(self) -> None:
        """See asyncio.Protocol."""
        super().resume_writing()
        if self._write_clock is not None:
            self._write_clock.cancel()
            self._write_clock = None
        self._watch_closing()

    def _make_room(self) -> None:
        """Closes the connection that has owed a request for longest: this one, where all others are at work."""
        silent = [each for each in self.connections if isinstance(each, Connection) and each._is_silent()]
        if silent:
            min(silent, key=Connection._silence_ends_s)._end(Why.crowded)

    def _is_silent(self) -> bool:
        return self._clock is not None and self.conn.their_state is h11.IDLE and not self.transport.is_closing()

    def _silence_ends_s(self) -> float:
        """When the clock of a silent client runs out, by the event loop's time."""
        assert self._clock is not None
        return self._clock.when()

    def _watch(self) -> None:
        """Sets the clock when the client comes to owe something else; bytes that trickle in do not set it back."""
        self._watch_closing()
        owed_s = self._owed()
        if owed_s == self._owed_s:
            return
        if self._clock is not None:
            self._clock.cancel()
        self._owed_s = owed_s
        self._clock = None if owed_s is None else self.loop.call_later(owed_s, self._end, Why.silent)

    def _end(self, why: Why) -> None:
        ENDED[why] += 1
        self.transport.close()
        self._watch_closing()

    def _watch_closing(self) -> None:
        """A connection that is closed stays until the client has taken what lies ready, little as it may be."""
        if self._write_clock is None and self.transport.is_closing():
            self._watch_writing()

    def _owed(self) -> float | None:
        """How long the client has for what it owes; None while it is our turn, or the edge's own limit runs."""
        state = self.conn.their_state
        if state is h11.IDLE:
            return self.head_timeout_s
        if state is h11.SEND_BODY and self.cycle is not None and self.cycle.response_complete:
            return self.rest_timeout_s
        return None

    def _watch_writing(self) -> None:
        ready = self.transport.get_write_buffer_size()

        def look() -> None:
            if ready - self.transport.get_write_buffer_size() < _PROGRESS_BYTES:
                ENDED[Why.untaken] += 1
                self.transport.abort()  # closing would wait until everything is taken
            else:
                self._watch_writing()

        self._write_clock = self.loop.call_later(self.write_timeout_s, look)
