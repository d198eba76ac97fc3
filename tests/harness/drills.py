"""How long a drill goes on: short in every run, with the numbers of the guarantee under `PAYFLOW_DRILLS=full`."""

from __future__ import annotations

import os
from typing import TypeVar

T = TypeVar("T")

FULL = os.environ.get("PAYFLOW_DRILLS") == "full"


def bound(short: T, full: T) -> T:
    """The number of this run: `short` by default, `full` under `PAYFLOW_DRILLS=full`."""
    return full if FULL else short
