"""The wall clock of one running process, set ahead or back on purpose, by libfaketime (Debian package `faketime`)."""

from __future__ import annotations

import os
from pathlib import Path

from deploy.local import install

PACKAGE = "faketime"


def find_library() -> Path | None:
    """The library that is loaded into the process; None when it is not installed."""
    return install.find_faketime()


class Clock:
    """What one process takes for the time of day. Timers are not touched: those run on the monotonic clock.

    Asking for the time costs some 1.6 µs of CPU instead of 0.1: the file is read anew each time. `time.sleep` fails in such a
    process (the library and CPython 3.11 do not get along there); asyncio, uvloop, threads and locks are right. Not for Redis,
    which does not start under it.
    """

    def __init__(self, file: Path) -> None:
        """`file` holds the offset; it is made here, and is the process's own. The clock is right at first."""
        self._file = file
        self.jump(0)

    def environment(self) -> dict[str, str]:
        """What the process must find in its environment.

        Raises:
            FileNotFoundError: libfaketime is not installed.
        """
        library = find_library()
        if library is None:
            raise FileNotFoundError(f"libfaketime is missing: install the package {PACKAGE}")
        return {
            "LD_PRELOAD": str(library),
            "FAKETIME_TIMESTAMP_FILE": str(self._file),
            # Without it a jump is seen ten seconds late.
            "FAKETIME_NO_CACHE": "1",
            "DONT_FAKE_MONOTONIC": "1",
        }

    def jump(self, seconds: float) -> None:
        """Be that much ahead of the true time (behind it, if negative) from now on; 0 is right again."""
        draft = self._file.with_name(f".{self._file.name}.{os.getpid()}")
        # Replaced as a whole: the process never reads half an offset.
        draft.write_text(f"{seconds:+.3f}\n")
        draft.replace(self._file)
