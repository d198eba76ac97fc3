"""Crash points: named moments at which a process kills itself, for drills. They can be armed in demo mode only.

A crash point is a seam and an operation, such as `after-commit:finalize_transfers`, and the number of the pass: with
`PAYFLOW_CRASH_AT=after-commit:finalize_transfers@2` the process ends with SIGKILL after the second such commit.
"""

from __future__ import annotations

import asyncio
import os
import re
import signal
import sys
from collections import Counter
from dataclasses import dataclass

import structlog

from services.chassis import logs

SEAMS = (
    "before-commit",
    "after-commit",
    "after-use",
    "before-publish",
    "after-publish",
    "after-confirm",
    "before-request",
    "after-request",
    "after-response",
    "before-ack",
    "after-ack",
    "before-answer",
    "after-answer",
)
"""Where a process can crash: around a commit, after the use of a borrowed connection, around the publish of a message (sent, then
confirmed), a call (sent, response unread, response read), an acknowledgement, and a response (`answer`: written)."""

TURNS = 10
"""After so many iterations of the event loop, data written to a connection has been sent, and no response has arrived."""

_CALLER = 2
_NOT_A_CALLER = "contextlib"
_POINT = re.compile(r"(?P<seam>[a-z-]+):(?P<operation>[^@]+)(?:@(?P<number>[1-9][0-9]{0,5}))?")
_ID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class CrashPoint:
    """The moment at which a process crashes: its `number`th pass of this name."""

    name: str
    number: int


_armed: CrashPoint | None = None
_passes: Counter[str] = Counter()


def parse(text: str) -> CrashPoint:
    """Read `seam:operation` or `seam:operation@number`; numbers count from 1.

    Raises:
        ValueError: it has another form, or there is no such seam.
    """
    match = _POINT.fullmatch(text)
    if match is None or match["seam"] not in SEAMS:
        raise ValueError("is not a crash point: it must be seam:operation@number, the seam one of " + ", ".join(SEAMS))
    return CrashPoint(f"{match['seam']}:{match['operation']}", int(match["number"] or 1))


def arm(point: CrashPoint) -> None:
    """Crash this process at that point, and log each point that it passes until then."""
    global _armed  # noqa: PLW0603 - one per process
    _armed = point


def pass_by(seam: str, *operation: str) -> None:
    """Pass a point: crash if it is armed, else do nothing.

    Without an operation it is the name of the function that uses the caller as its context manager.
    """
    if _armed is not None:
        _count(_armed, f"{seam}:{_ID.sub('{id}', ' '.join(operation)) or _user()}")


def pass_by_soon(seam: str, *operation: str) -> None:
    """Pass a point as soon as the data just written to a connection has been sent, before its response is read."""
    if _armed is not None:
        asyncio.get_running_loop().call_soon(_turn, TURNS, seam, operation)


def _turn(turns: int, seam: str, operation: tuple[str, ...]) -> None:
    if turns:
        asyncio.get_running_loop().call_soon(_turn, turns - 1, seam, operation)
    else:
        pass_by(seam, *operation)


def _count(armed: CrashPoint, name: str) -> None:
    _passes[name] += 1
    log.info("crash_point_passed", point=name, number=_passes[name])
    if (name, _passes[name]) == (armed.name, armed.number):
        logs.flush()
        os.kill(os.getpid(), signal.SIGKILL)


def _user() -> str:
    frame = sys._getframe(_CALLER + 1)  # noqa: SLF001 - only in a process that is armed
    while frame.f_back is not None and frame.f_globals["__name__"] == _NOT_A_CALLER:
        frame = frame.f_back
    return frame.f_code.co_name
