"""The CPU and memory use of a process, from Linux."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

_TICK_SECONDS = 1 / os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Usage:
    """CPU seconds since its start, user and system; resident memory in bytes."""

    cpu_seconds: float
    memory_bytes: int


def of(pid: int) -> Usage:
    """The usage of a process so far."""
    process = Path("/proc") / str(pid)
    # The program name in parentheses may contain anything; after it utime and stime are fields 12 and 13.
    fields = (process / "stat").read_text().rpartition(")")[2].split()
    resident = next(line for line in (process / "status").read_text().splitlines() if line.startswith("VmRSS:"))
    return Usage((int(fields[11]) + int(fields[12])) * _TICK_SECONDS, int(resident.split()[1]) * 1024)
