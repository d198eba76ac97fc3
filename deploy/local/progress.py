"""What a person at the terminal is told while things start and run."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

Result = TypeVar("Result")
Tell = Callable[[str], None]

GREEN = "\x1b[32m"
DIM = "\x1b[2m"
PLAIN = "\x1b[0m"


def tell(line: str) -> None:
    """One line for the person; a terminal that went away is no reason to stop."""
    with contextlib.suppress(OSError, ValueError):
        print(line, flush=True)


async def timed(what: str, work: Awaitable[Result]) -> Result:
    """Do one step of the start and tell how long it took."""
    started = time.monotonic()
    result = await work
    seconds = f"{time.monotonic() - started:.1f} s"
    if sys.stdout.isatty():
        tell(f"  {GREEN}ready{PLAIN}  {what}  {DIM}{seconds}{PLAIN}")
    else:
        tell(f"  ready  {what}  {seconds}")
    return result
