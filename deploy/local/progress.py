"""Progress messages on the terminal."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

Result = TypeVar("Result")
Report = Callable[[str], None]

GREEN = "\x1b[32m"
DIM = "\x1b[2m"
PLAIN = "\x1b[0m"


def report(line: str) -> None:
    """Print one line; a closed terminal is not an error."""
    with contextlib.suppress(OSError, ValueError):
        print(line, flush=True)


async def timed(what: str, work: Awaitable[Result]) -> Result:
    """Await one step of the start and report how long it took."""
    started = time.monotonic()
    result = await work
    seconds = f"{time.monotonic() - started:.1f} s"
    if sys.stdout.isatty():
        report(f"  {GREEN}ready{PLAIN}  {what}  {DIM}{seconds}{PLAIN}")
    else:
        report(f"  ready  {what}  {seconds}")
    return result
