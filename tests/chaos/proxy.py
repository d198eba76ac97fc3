"""A TCP proxy for the connections between two processes, with faults that can be injected and healed.

Without a fault a chunk costs one call and one write: what one end sends is written to the other, with back pressure
from a slow reader to its sender.
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
"""The most one direction of a slow link buffers before its sender is paused."""

PIECES_PER_SECOND = 20
END = b""
"""Queue entry for the end of a stream."""

LINGER_ZERO = struct.pack("ii", 1, 0)


@dataclass(frozen=True, slots=True)
class _Fault:
    """The active fault; `seconds` and `rate` (bytes per second) apply to a slow link."""

    name: str
    seconds: float = 0.0
    rate: float = math.inf


class Edge:
    """The link from one caller to one callee. It has one fault at a time; a new fault heals the previous one."""

    def __init__(self, name: str, upstream: Callable[[], tuple[str, int]]) -> None:
        """`upstream` returns host and port of the callee; it is called for every connection."""
        self.name = name
        self.port = 0
        self.upstream = upstream
        self._server: asyncio.Server | None = None
        self._fault: _Fault | None = None
        self._links: set[_Link] = set()

    async def start(self) -> None:
        """Listen on a free loopback port."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(self._accept, LOOPBACK, 0, backlog=BACKLOG)
        self.port = self._server.sockets[0].getsockname()[1]

    async def close(self) -> None:
        """Stop listening and close every connection."""
        if self._server is not None:
            self._server.close()
        links = list(self._links)
        for link in links:
            link.drop()
        await asyncio.gather(*(link.ended.wait() for link in links))

    @property
    def fault(self) -> str | None:
        """The active fault: the name of the method that set it."""
        return self._fault.name if self._fault is not None else None

    @property
    def connections(self) -> int:
        """The number of connections that are open at one end or both."""
        return len(self._links)

    def cut(self) -> None:
        """Close every connection, and reset each new one immediately."""
        self._break(_Fault("cut"))

    def reset(self) -> None:
        """Reset every open connection once, at both ends. Leaves no fault behind."""
        for link in list(self._links):
            link.reset()

    def black_hole(self) -> None:
        """Let nothing pass, not even the end of a connection; accept new connections without connecting to the callee."""
        self._break(_Fault("black_hole"))

    def delay(self, seconds: float) -> None:
        """Delay every chunk, in order, in both directions."""
        self._break(_Fault("delay", seconds=seconds))

    def half_open(self) -> None:
        """Pass requests to the callee, but drop everything it sends back."""
        self._break(_Fault("half_open"))

    def drop_responses(self) -> None:
        """Let requests pass; when the response begins, reset the caller's connection instead."""
        self._break(_Fault("drop_responses"))

    def limit(self, bytes_per_second: int) -> None:
        """Limit the rate of each direction of each connection."""
        self._break(_Fault("limit", rate=float(bytes_per_second)))

    def heal(self) -> None:
        """Remove the fault. Dropped bytes stay lost, so connections that lost some are closed."""
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
        """A caller has connected: connect to the callee, or apply the fault."""
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
        """The callee is connected too: apply the current fault."""
        link.apply(self._fault)


class _Link:
    """A connection of the caller and its connection to the callee."""

    def __init__(self, edge: Edge, links: set[_Link]) -> None:
        self._edge = edge
        self._links = links
        there, back = _Direction(self), _Direction(self)
        self.caller = _End(self, out=there, into=back)
        self.callee = _End(self, out=back, into=there)
        self.connecting: asyncio.Task[None] | None = None
        self.ended = asyncio.Event()
        self.has_lost_data = False
        """Whether bytes, or the end of a stream, were dropped."""

    def made(self, end: _End) -> None:
        """An end is connected; the caller is first."""
        if end is self.caller:
            self._links.add(self)
            # Do not read before the other end is connected.
            end.out.adjust()
            self._edge.admit(self)
        elif self.caller.is_open:
            self._edge.join(self)
        else:
            end.abort()

    def apply(self, fault: _Fault | None) -> None:
        """Apply a fault; None removes it."""
        name = fault.name if fault is not None else None
        if name == "cut" or (name is None and self.has_lost_data):
            self.drop()
        if self.caller.is_closing or self.callee.is_closing:
            return
        there, back = self.caller.out, self.callee.out
        if fault is None:
            there.let_pass()
            back.let_pass()
        elif name == "black_hole":
            there.drop_all()
            back.drop_all()
        elif name in ("half_open", "drop_responses"):
            there.let_pass()
            back.drop_all() if name == "half_open" else back.drop_response()
        else:
            there.slow(fault)
            back.slow(fault)

    def strand(self) -> None:
        """Keep only the caller's connection."""
        self.has_lost_data = True
        self.caller.out.drop_all()

    def reset(self) -> None:
        """Reset both connections now."""
        self.caller.reset()
        self.callee.reset()
        self._cancel()

    def drop(self) -> None:
        """Close both connections now."""
        self.caller.abort()
        self.callee.abort()
        self._cancel()

    def drop_response(self) -> None:
        """The callee has begun to respond: reset the caller's connection."""
        self.caller.reset()
        self.callee.close()

    def finalize(self) -> None:
        """Pass on the end of a stream; close the link when both streams have ended or one end is gone."""
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
        if end.out.is_dropping:
            self.has_lost_data = True
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
    """One end of a link: the connection to the caller or to the callee."""

    def __init__(self, link: _Link, *, out: _Direction, into: _Direction) -> None:
        self.out = out
        self.is_open = False
        self.into = into
        self._link = link
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports do not inherit from asyncio's classes, but have the same interface.
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
        """Whether nothing can be sent: not connected yet, or closing."""
        return self._transport is None or self._transport.is_closing()

    def end(self) -> None:
        """Half-close: send no more."""
        if self._transport is not None and not self.is_closing:
            self._transport.write_eof()

    def close(self) -> None:
        """Close once everything written is sent."""
        if self._transport is not None:
            self._transport.close()

    def abort(self) -> None:
        """Close now."""
        if self._transport is not None:
            self._transport.abort()

    def reset(self) -> None:
        """Close now with a TCP reset."""
        if self._transport is not None and self.is_open:
            self._transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER_ZERO)
            self._transport.abort()


class _Direction:
    """One direction of a link. `take` is called with every chunk that arrives."""

    def __init__(self, link: _Link) -> None:
        self.source: asyncio.Transport | None = None
        self.sink: asyncio.Transport | None = None
        self.take: Callable[[bytes], object] = self._queue_up
        self.is_full = False
        """Whether the sink has paused writing."""
        self.is_ending = False
        self.has_ended = False
        self.is_dropping = False
        self._link = link
        self._fault = _Fault("wait", seconds=math.inf)
        self._queue: deque[tuple[float, bytes]] = deque()
        self._queued_bytes = 0
        self._free_at = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._is_paused = False

    def let_pass(self) -> None:
        """Write what is queued, and everything from now on immediately."""
        self._stop()
        assert self.sink is not None, "an open link has both ends"
        self.take = self.sink.write
        while self._queue:
            self._write(self._queue.popleft()[1])
        self._queued_bytes = 0
        self.adjust()

    def slow(self, fault: _Fault) -> None:
        """Delay everything, including what is already queued."""
        waiting = [data for _, data in self._queue]
        self._queue.clear()
        self.let_pass()
        self._fault = fault
        self._free_at = 0.0
        self.take = self._queue_up
        for data in waiting:
            self._queue_up(data)

    def drop_all(self) -> None:
        """Drop what is queued and what arrives."""
        self._stop()
        self.is_dropping = True
        self.take = self._drop
        if self._queue:
            self._queue.clear()
            self._link.has_lost_data = True
        self._queued_bytes = 0
        self.adjust()

    def drop_response(self) -> None:
        """Treat the next chunk as the response to drop."""
        self.let_pass()
        self.take = self._drop_response

    def discard(self) -> None:
        """Drop what arrives: the receiving end is closed."""
        self._stop()
        self._queue.clear()
        self._queued_bytes = 0
        self.take = _drop_chunk
        self.is_full = False
        self.adjust()

    def end(self) -> None:
        """The source has ended its stream."""
        self.is_ending = True
        if self.sink is not None and self.take == self.sink.write:
            self._write(END)
        else:
            self.take(END)

    def adjust(self) -> None:
        """Pause or resume reading, depending on the free buffer space."""
        limit = min(self._fault.rate, QUEUE_BYTES_MAX)
        is_nowhere = self.sink is None and not self.is_dropping
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
        assert self.sink is not None, "only a connected direction is written to"
        if data:
            self.sink.write(data)
        else:
            self.has_ended = True
            self._link.finalize()

    def _drop(self, _data: bytes) -> None:
        self._link.has_lost_data = True

    def _drop_response(self, _data: bytes) -> None:
        self.take = _drop_chunk
        self._link.drop_response()

    def _stop(self) -> None:
        self.is_dropping = False
        self._fault = _Fault("none")
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


def _drop_chunk(_data: bytes) -> None:
    """Drop a chunk."""


def _pieces(data: bytes, rate: float) -> Iterator[bytes]:
    """Split a chunk so that a link with this rate flows steadily."""
    size = len(data) if math.isinf(rate) else max(1, int(rate / PIECES_PER_SECOND))
    if len(data) <= size:
        yield data
        return
    for start in range(0, len(data), size):
        yield data[start : start + size]
