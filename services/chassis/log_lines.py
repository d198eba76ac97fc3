"""Log lines: the lines of one iteration of the event loop are written together.

A write costs more than everything else that a line costs. A process that is killed loses only the lines of its current
iteration; in all other cases they are written before the process ends.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TextIO


class LineBuffer:
    """Lines of a stream. Without a running event loop, as in a thread, they are written at once."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._lines: deque[str] = deque()
        self._flushed_by: asyncio.AbstractEventLoop | None = None

    def add(self, line: str) -> None:
        """Write a line before the next iteration of the event loop ends."""
        self._lines.append(line)
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            self.flush()
            return
        if self._flushed_by is not loop:
            self._flushed_by = loop
            loop.call_soon(self.flush)

    # structlog calls the method that is named after the level.
    debug = info = warning = error = critical = add

    def write(self, text: str) -> None:
        """Write a text of the standard library's logging; it calls `flush` after each."""
        self._lines.append(text.removesuffix("\n"))

    def flush(self) -> None:
        """Write all lines now."""
        self._flushed_by = None
        lines = []
        while self._lines:
            try:
                lines.append(self._lines.popleft())
            except IndexError:  # another thread has written the last one
                break
        if lines:
            self._stream.write("\n".join(lines) + "\n")
            self._stream.flush()
