"""A program that prints how its process was started, and exits with the number that it is given."""

from __future__ import annotations

import ctypes
import json
import os
import sys
import threading
import time
from pathlib import Path

PR_GET_PDEATHSIG = 2
SIGNALS = ("SigBlk", "SigIgn", "SigCgt")


def death_signal() -> int:
    number = ctypes.c_int()
    ctypes.CDLL(None).prctl(PR_GET_PDEATHSIG, ctypes.byref(number))
    return number.value


def main() -> None:
    umask = os.umask(0)
    os.umask(umask)
    status = dict(line.split(":\t", 1) for line in Path("/proc/self/status").read_text().splitlines() if ":\t" in line)
    told = {
        "arguments": sys.argv[1:],
        "death signal": death_signal(),
        "environment": dict(os.environ),
        "files": {number: str(Path(f"/proc/self/fd/{number}").readlink()) for number in open_files()},
        "folder": str(Path.cwd()),
        "leads its group and session": os.getpid() == os.getpgrp() == os.getsid(0),
        "name": __name__,
        "parent": os.getppid(),
        "path": sys.path[0],
        "program": Path("/proc/self/comm").read_text(),
        "signals": [status[name] for name in SIGNALS],
        "threads": threading.active_count(),
        "time zone": time.tzname,
        "umask": umask,
    }
    print(json.dumps(told))
    sys.exit(int(sys.argv[1]))


def open_files() -> list[str]:
    with os.scandir("/proc/self/fd") as found:
        names = [entry.name for entry in found]
    return [name for name in names if Path(f"/proc/self/fd/{name}").exists()]


if __name__ == "__main__":
    main()
