"""Named moments at which a process kills itself when it is told to, for drills. Nothing is armed unless a demo says so.

A moment is a seam and an operation, `after-commit:finalize_transfers` say, and the number of the pass: `PAYFLOW_CRASH_AT=
after-commit:finalize_transfers@2` ends the process with SIGKILL when it has committed that for the second time.
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
"""Where a process can end: about a commit, after a borrowed connection was used, about a message that is published (sent,
confirm awaited; confirmed), a call (sent and answered, answer unread), an acknowledgement, and an answer (written)."""

TURNS = 10
"""So many turns of the event loop after something was handed to a connection, it has left; its answer has not come."""

_CALLER = 2
_NOT_A_CALLER = "contextlib"
_POINT = re.compile(r"(?P<seam>[a-z-]+):(?P<operation>[^@]+)(?:@(?P<number>[1-9][0-9]{0,5}))?")
_ID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class CrashPoint:
    """The one moment at which a process ends: the `number`th time it comes by this name."""

    name: str
    number: int


_armed: CrashPoint | None = None
_passes: Counter[str] = Counter()


def parse(text: str) -> CrashPoint:
    """Read `seam:operation` or `seam:operation@number`; numbers count from 1.

    Raises:
        ValueError: it is not of this form, or there is no such seam.
    """
    match = _POINT.fullmatch(text)
    if match is None or match["seam"] not in SEAMS:
        raise ValueError("is no crash point: it must be seam:operation@number, the seam one of " + ", ".join(SEAMS))
    return CrashPoint(f"{match['seam']}:{match['operation']}", int(match["number"] or 1))


def arm(point: CrashPoint) -> None:
    """End this process at that point, and tell each point that it comes by until then."""
    global _armed  # noqa: PLW0603 - one process, one end
    _armed = point


def pass_by(seam: str, *operation: str) -> None:
    """Come by a point: nothing, unless this is where the process was told to end.

    Without an operation it is the name of the function that uses the caller as its context manager.
    """
    if _armed is not None:
        _count(_armed, f"{seam}:{_ID.sub('{id}', ' '.join(operation)) or _user()}")


def pass_by_soon(seam: str, *operation: str) -> None:
    """Come by a point as soon as what was just handed to a connection has left, while nobody has looked at its answer."""
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
        os.kill(os.getpid(), signal.SIGKILL)


def _user() -> str:
    frame = sys._getframe(_CALLER + 1)  # noqa: SLF001 - only in a process that is armed
    while frame.f_back is not None and frame.f_globals["__name__"] == _NOT_A_CALLER:
        frame = frame.f_back
    return frame.f_code.co_name
