"""A TCP proxy for one link between two processes, which can be broken on purpose and healed again.

While nothing is broken a chunk costs one call and one write: what one end sends is written to the other, and whoever cannot
keep up makes the other end be read more slowly.
"""

from __future__ import annotations

import asyncio
import math
import socket
import struct
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import cast

LOOPBACK = "127.0.0.1"
BACKLOG = 1024
QUEUE_BYTES_MAX = 4 * 1024 * 1024
"""How much one direction of a slow link holds before its sender is made to wait."""

PIECES_PER_SECOND = 20
END = b""
"""Stands in a queue for "the sender will send no more"."""

LINGER_ZERO = struct.pack("ii", 1, 0)


@dataclass(frozen=True, slots=True)
class _Fault:
    """What is broken; `seconds` and `rate` (bytes per second) are those of a slow link."""

    name: str
    seconds: float = 0.0
    rate: float = math.inf


class Edge:
    """The link from one caller to one callee. One fault at a time: the next one heals the one before."""

    def __init__(self, name: str, upstream: Callable[[], tuple[str, int]]) -> None:
        """`upstream` tells host and port of the callee; it is asked anew for every connection."""
        self.name = name
        self.port = 0
        self.upstream = upstream
        self._server: asyncio.Server | None = None
        self._fault: _Fault | None = None
        self._links: set[_Link] = set()

    async def start(self) -> None:
        """Listen on a free port of the loopback."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(self._accept, LOOPBACK, 0, backlog=BACKLOG)
        self.port = self._server.sockets[0].getsockname()[1]

    async def close(self) -> None:
        """Stop listening and end every connection."""
        if self._server is not None:
            self._server.close()
        links = list(self._links)
        for link in links:
            link.drop()
        await asyncio.gather(*(link.ended.wait() for link in links))

    @property
    def fault(self) -> str | None:
        """What is broken now: the name of the method that broke it."""
        return self._fault.name if self._fault is not None else None

    @property
    def connections(self) -> int:
        """How many connections are open, be it at one end only."""
        return len(self._links)

    def cut(self) -> None:
        """Close every connection, and reset each new one as soon as it is made."""
        self._break(_Fault("cut"))

    def reset(self) -> None:
        """Reset every connection once, at both ends. Leaves nothing broken behind."""
        for link in list(self._links):
            link.reset()

    def black_hole(self) -> None:
        """Let nothing pass, not even the end of a connection; new ones are accepted and lead nowhere."""
        self._break(_Fault("black_hole"))

    def delay(self, seconds: float) -> None:
        """Let every chunk arrive that much later, in order, in both directions."""
        self._break(_Fault("delay", seconds=seconds))

    def half_open(self) -> None:
        """Let the caller be heard, and let it hear nothing."""
        self._break(_Fault("half_open"))

    def lose_responses(self) -> None:
        """Let requests pass; when the callee begins to answer, reset the caller's connection instead."""
        self._break(_Fault("lose_responses"))

    def limit(self, bytes_per_second: int) -> None:
        """Let no more than this pass, in each direction of each connection."""
        self._break(_Fault("limit", rate=float(bytes_per_second)))

    def heal(self) -> None:
        """Let everything pass. What was swallowed stays lost, so the connections that missed something are ended."""
        self._fault = None
        self._apply()

    def _break(self, fault: _Fault) -> None:
        self.heal()
        self._fault = fault
        self._apply()

    def _apply(self) -> None:
        for link in list(self._links):
            link.apply(self._fault)

    def _accept(self) -> asyncio.Protocol:
        return _Link(self, self._links).caller

    def admit(self, link: _Link) -> None:
        """A caller has connected: bring it through, or let it feel what is broken."""
        if self.fault == "cut":
            link.reset()
        elif self.fault == "black_hole":
            link.strand()
        else:
            link.connecting = asyncio.create_task(self._connect(link))

    async def _connect(self, link: _Link) -> None:
        try:
            host, port = self.upstream()
            await asyncio.get_running_loop().create_connection(lambda: link.callee, host, port)
        except OSError:
            link.reset()
        except BaseException:
            link.drop()
            raise

    def join(self, link: _Link) -> None:
        """The callee is connected too: the link is as broken as this edge is now."""
        link.apply(self._fault)


class _Link:
    """One connection of the caller and the one to the callee that belongs to it."""

    def __init__(self, edge: Edge, links: set[_Link]) -> None:
        self._edge = edge
        self._links = links
        there, back = _Lane(self), _Lane(self)
        self.caller = _End(self, out=there, into=back)
        self.callee = _End(self, out=back, into=there)
        self.connecting: asyncio.Task[None] | None = None
        self.ended = asyncio.Event()
        self.is_torn = False
        """Whether bytes, or the end of a connection, were lost on the way."""

    def made(self, end: _End) -> None:
        """An end is connected; the caller's is first."""
        if end is self.caller:
            self._links.add(self)
            # Nothing is read before there is somebody to write it to.
            end.out.adjust()
            self._edge.admit(self)
        elif self.caller.is_open:
            self._edge.join(self)
        else:
            end.abort()

    def apply(self, fault: _Fault | None) -> None:
        """Be as broken as this says; None: whole."""
        name = fault.name if fault is not None else None
        if name == "cut" or (name is None and self.is_torn):
            self.drop()
        if self.caller.is_closing or self.callee.is_closing:
            return
        there, back = self.caller.out, self.callee.out
        if fault is None:
            there.let_pass()
            back.let_pass()
        elif name == "black_hole":
            there.swallow()
            back.swallow()
        elif name in ("half_open", "lose_responses"):
            there.let_pass()
            back.swallow() if name == "half_open" else back.lose_answer()
        else:
            there.slow(fault)
            back.slow(fault)

    def strand(self) -> None:
        """Stay connected to the caller alone."""
        self.is_torn = True
        self.caller.out.swallow()

    def reset(self) -> None:
        """End both connections at once, with a reset."""
        self.caller.reset()
        self.callee.reset()
        self._cancel()

    def drop(self) -> None:
        """End both connections at once."""
        self.caller.abort()
        self.callee.abort()
        self._cancel()

    def lose_answer(self) -> None:
        """The callee has answered: the caller will not know what."""
        self.caller.reset()
        self.callee.close()

    def finalize(self) -> None:
        """Pass on that an end will send no more; both silent, or one gone, ends the link."""
        both = self.caller.out.has_ended and self.callee.out.has_ended
        for source, sink in ((self.caller, self.callee), (self.callee, self.caller)):
            if source.out.has_ended and sink.is_open:
                if both or not source.is_open:
                    sink.close()
                else:
                    sink.end()

    def lost(self, end: _End, error: Exception | None) -> None:
        """An end is closed."""
        other = self.callee if end is self.caller else self.caller
        end.into.discard()
        if end.out.is_swallowing:
            self.is_torn = True
        elif error is not None:
            other.reset()
        elif not end.out.is_ending:
            end.out.end()
        self.finalize()
        if end is self.caller:
            self._cancel()
        if not other.is_open:
            self._links.discard(self)
            self.ended.set()

    def _cancel(self) -> None:
        if self.connecting is not None and not self.callee.is_open and self.connecting is not asyncio.current_task():
            self.connecting.cancel()


class _End(asyncio.Protocol):
    """One end of a link: the connection of the caller, or that to the callee."""

    def __init__(self, link: _Link, *, out: _Lane, into: _Lane) -> None:
        self.out = out
        self.is_open = False
        self.into = into
        self._link = link
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are none of asyncio's classes, only of their kind.
        stream = cast("asyncio.Transport", transport)
        self._transport = stream
        self.is_open = True
        self.out.source = stream
        self.into.sink = stream
        self._link.made(self)

    def data_received(self, data: bytes) -> None:
        self.out.take(data)

    def eof_received(self) -> bool:
        self.out.end()
        return True

    def pause_writing(self) -> None:
        self.into.is_full = True
        self.into.adjust()

    def resume_writing(self) -> None:
        self.into.is_full = False
        self.into.adjust()

    def connection_lost(self, exc: Exception | None) -> None:
        self.is_open = False
        self._link.lost(self, exc)

    @property
    def is_closing(self) -> bool:
        """Whether nothing can be sent: not connected yet, or no longer."""
        return self._transport is None or self._transport.is_closing()

    def end(self) -> None:
        """Send no more."""
        if self._transport is not None and not self.is_closing:
            self._transport.write_eof()

    def close(self) -> None:
        """Close when what was written is sent."""
        if self._transport is not None:
            self._transport.close()

    def abort(self) -> None:
        """Close now."""
        if self._transport is not None:
            self._transport.abort()

    def reset(self) -> None:
        """Close now, so that the peer is told of a reset."""
        if self._transport is not None and self.is_open:
            self._transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER_ZERO)
            self._transport.abort()


class _Lane:
    """One direction of a link. `take` is given every chunk that arrives, and does what is to be done with it."""

    def __init__(self, link: _Link) -> None:
        self.source: asyncio.Transport | None = None
        self.sink: asyncio.Transport | None = None
        self.take: Callable[[bytes], object] = self._queue_up
        self.is_full = False
        """Whether the sink takes no more at the moment."""
        self.is_ending = False
        self.has_ended = False
        self.is_swallowing = False
        self._link = link
        self._fault = _Fault("wait", seconds=math.inf)
        self._queue: deque[tuple[float, bytes]] = deque()
        self._queued_bytes = 0
        self._free_at = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._is_paused = False

    def let_pass(self) -> None:
        """Write what waits, and from now on everything at once."""
        self._stop()
        assert self.sink is not None, "an open link has both ends"
        self.take = self.sink.write
        while self._queue:
            self._write(self._queue.popleft()[1])
        self._queued_bytes = 0
        self.adjust()

    def slow(self, fault: _Fault) -> None:
        """Let everything arrive later, also what came before there was somebody to write it to."""
        waiting = [data for _, data in self._queue]
        self._queue.clear()
        self.let_pass()
        self._fault = fault
        self._free_at = 0.0
        self.take = self._queue_up
        for data in waiting:
            self._queue_up(data)

    def swallow(self) -> None:
        """Throw away what waits and what comes."""
        self._stop()
        self.is_swallowing = True
        self.take = self._swallow
        if self._queue:
            self._queue.clear()
            self._link.is_torn = True
        self._queued_bytes = 0
        self.adjust()

    def lose_answer(self) -> None:
        """Take the next chunk for an answer that must not arrive."""
        self.let_pass()
        self.take = self._lose_answer

    def discard(self) -> None:
        """Throw away what comes: nobody is there to read it."""
        self._stop()
        self._queue.clear()
        self._queued_bytes = 0
        self.take = _forget
        self.is_full = False
        self.adjust()

    def end(self) -> None:
        """The source will send no more."""
        self.is_ending = True
        if self.sink is not None and self.take == self.sink.write:
            self._write(END)
        else:
            self.take(END)

    def adjust(self) -> None:
        """Read from the source as long as there is room for it."""
        limit = min(self._fault.rate, QUEUE_BYTES_MAX)
        is_nowhere = self.sink is None and not self.is_swallowing
        must_pause = self.is_full or is_nowhere or self._queued_bytes > limit
        if self.source is None or self.source.is_closing() or must_pause == self._is_paused:
            return
        self._is_paused = must_pause
        if must_pause:
            self.source.pause_reading()
        else:
            self.source.resume_reading()

    def _queue_up(self, data: bytes) -> None:
        loop = asyncio.get_running_loop()
        arrives_at = loop.time() + self._fault.seconds
        for piece in _pieces(data, self._fault.rate):
            self._free_at = max(self._free_at, arrives_at) + len(piece) / self._fault.rate
            self._queue.append((self._free_at, piece))
        self._queued_bytes += len(data)
        if self._timer is None and self.sink is not None:
            self._timer = loop.call_at(self._queue[0][0], self._send_due)
        self.adjust()

    def _send_due(self) -> None:
        loop = asyncio.get_running_loop()
        now = loop.time()
        while self._queue and self._queue[0][0] <= now:
            piece = self._queue.popleft()[1]
            self._queued_bytes -= len(piece)
            self._write(piece)
        self._timer = loop.call_at(self._queue[0][0], self._send_due) if self._queue else None
        self.adjust()

    def _write(self, data: bytes) -> None:
        assert self.sink is not None, "only what has somewhere to go is written"
        if data:
            self.sink.write(data)
        else:
            self.has_ended = True
            self._link.finalize()

    def _swallow(self, _data: bytes) -> None:
        self._link.is_torn = True

    def _lose_answer(self, _data: bytes) -> None:
        self.take = _forget
        self._link.lose_answer()

    def _stop(self) -> None:
        self.is_swallowing = False
        self._fault = _Fault("none")
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


def _forget(_data: bytes) -> None:
    """What nobody will read."""


def _pieces(data: bytes, rate: float) -> Iterator[bytes]:
    """The chunk in parts small enough for a link of this rate to flow rather than to jerk."""
    size = len(data) if math.isinf(rate) else max(1, int(rate / PIECES_PER_SECOND))
    if len(data) <= size:
        yield data
        return
    for start in range(0, len(data), size):
        yield data[start : start + size]
