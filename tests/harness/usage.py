"""What a process has used, as Linux tells it."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

_TICK_SECONDS = 1 / os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Usage:
    """CPU since its start, of itself and for it, in seconds; memory it holds now, in bytes."""

    cpu_seconds: float
    memory_bytes: int


def of(pid: int) -> Usage:
    """What this process has used up to now."""
    process = Path("/proc") / str(pid)
    # The name of the program, in parentheses, may hold anything; behind it utime and stime are the 12th and 13th.
    fields = (process / "stat").read_text().rpartition(")")[2].split()
    resident = next(line for line in (process / "status").read_text().splitlines() if line.startswith("VmRSS:"))
    return Usage((int(fields[11]) + int(fields[12])) * _TICK_SECONDS, int(resident.split()[1]) * 1024)
