"""The wall clock of one running process, moved forward or back by libfaketime (Debian package `faketime`)."""

from __future__ import annotations

import os
from pathlib import Path

from deploy.local import install

PACKAGE = "faketime"


def find_library() -> Path | None:
    """The library to preload; None when it is not installed."""
    return install.find_faketime()


class Clock:
    """The wall clock of one process. Timers are unaffected: they use the monotonic clock.

    Reading the time costs about 1.6 µs of CPU instead of 0.1, because the file is read each time. `time.sleep` fails in such a
    process (the library and CPython 3.11 are incompatible there); asyncio, uvloop, threads and locks work. Not for Redis,
    which does not start under it.
    """

    def __init__(self, file: Path) -> None:
        """`file` holds the offset; it is created here, for this process alone. The offset starts at 0."""
        self._file = file
        self.jump(0)

    def environment(self) -> dict[str, str]:
        """The environment variables the process needs.

        Raises:
            FileNotFoundError: libfaketime is not installed.
        """
        library = find_library()
        if library is None:
            raise FileNotFoundError(f"libfaketime is missing: install the package {PACKAGE}")
        return {
            "LD_PRELOAD": str(library),
            "FAKETIME_TIMESTAMP_FILE": str(self._file),
            # Without it a jump is seen only after ten seconds.
            "FAKETIME_NO_CACHE": "1",
            "DONT_FAKE_MONOTONIC": "1",
        }

    def jump(self, seconds: float) -> None:
        """Set the offset from the true time, in seconds; negative is behind, 0 is correct."""
        draft = self._file.with_name(f".{self._file.name}.{os.getpid()}")
        # Replaced atomically: the process never reads a partial offset.
        draft.write_text(f"{seconds:+.3f}\n")
        draft.replace(self._file)
