"""What a run consists of: its parts, its sizes, and the variables that configure it. Pure."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass

END_TO_END = ("uniform", "uniform_64", "hot", "pingpong", "idle", "half_load")
PARTS = ("ledger", *END_TO_END, "drain", "reads")
"""In the order in which they run."""

PROCESSES = ("one_worker",)
GROWTH = ("history", "many_accounts")
"""They add a million transfers, and a million accounts, and measure again."""

EXTRA = (*PROCESSES, *GROWTH)
"""Last, and only in a full run or by name."""

PAIRED = ("observability",)
"""They restart all processes between stretches: only by name."""

EVERY = (*PARTS, *PAIRED, *EXTRA)

GROUPS = {"end_to_end": END_TO_END, "growth": GROWTH}
SECONDS_MAX = 600
CONCURRENCY_MAX = 4096
SEED_MAX = 10**6
TOTAL_SECONDS_MAX = 170.0
"""Of a run of the default size, without the stop."""

BESIDE_SECONDS = 5.0
"""What a part takes beside its stretch: the start of the generator, the end of all work, the proof."""

STRETCH_SECONDS_MIN = 3


class BadVariable(Exception):  # noqa: N818 - reads as what it is
    """A variable has a value that cannot be used; the text is one line."""


@dataclass(frozen=True, slots=True)
class Plan:
    """The sizes of a run."""

    full: bool = False
    seconds: int = 10
    """Of one stretch."""
    concurrency: int = 256
    seed: int = 0
    history: int = 1_000_000
    """Transfers to add for the part of that name."""
    many_accounts: int = 1_000_000
    accounts: int = 10_000
    parts: tuple[str, ...] = PARTS
    profile: bool = False
    limited: bool = True
    """Whether stretches become shorter on a slow machine, so that the run ends in time."""

    @property
    def backlog(self) -> int:
        """Transfers of the part `drain`: 5,000 by default, 50,000 in a full run."""
        return max(100, min(50_000, self.seconds * (2_000 if self.full else 500)))

    @property
    def pairs(self) -> int:
        """Pairs of stretches of a paired part: 4 by default, 8 in a full run."""
        return 8 if self.full else 4

    @property
    def yardstick_seconds(self) -> int:
        """Of one run of the yardstick, before and after each stretch."""
        return max(2, min(5, self.seconds // 4))

    def stretch_seconds(self, elapsed: float, parts_left: int) -> int:
        """The length of the next stretch: as planned, or shorter if the parts that are left would take too long."""
        if not self.limited:
            return self.seconds
        each = (TOTAL_SECONDS_MAX - elapsed) / parts_left - self.yardstick_seconds - BESIDE_SECONDS
        return max(min(STRETCH_SECONDS_MIN, self.seconds), min(self.seconds, int(each)))


def plan(environment: Mapping[str, str]) -> Plan:
    """The run that the variables describe.

    Raises:
        BadVariable: a value cannot be used.
    """
    full = _flag(environment, "FULL")
    return Plan(
        full=full,
        seconds=_number(environment, "BENCH_SECONDS", 30 if full else 10, highest=SECONDS_MAX),
        concurrency=_number(environment, "BENCH_CONCURRENCY", 256, highest=CONCURRENCY_MAX),
        seed=_number(environment, "SEED", random.SystemRandom().randint(1, SEED_MAX), highest=SEED_MAX),
        history=1_000_000 if full else 50_000,
        many_accounts=1_000_000 if full else 100_000,
        parts=_parts(environment.get("ONLY", ""), (*PARTS, *EXTRA) if full else PARTS),
        profile=_flag(environment, "PROFILE"),
        limited=not full and not environment.get("BENCH_SECONDS"),
    )


def _flag(environment: Mapping[str, str], name: str) -> bool:
    text = environment.get(name, "")
    if text not in {"", "0", "1"}:
        raise BadVariable(f"{name} is {text!r}: it must be 1 or 0")
    return text == "1"


def _number(environment: Mapping[str, str], name: str, default: int, *, highest: int) -> int:
    text = environment.get(name) or str(default)
    if not (text.isascii() and text.isdecimal()) or not 1 <= int(text[:9]) <= highest:
        raise BadVariable(f"{name} is {text!r}: it must be a whole number from 1 to {highest}")
    return int(text)


def _parts(text: str, default: tuple[str, ...]) -> tuple[str, ...]:
    wanted: set[str] = set()
    for word in text.replace(",", " ").split():
        if word not in EVERY and word not in GROUPS:
            raise BadVariable(f"ONLY names {word!r}: known are {', '.join((*EVERY, *GROUPS))}")
        wanted.update(GROUPS.get(word, (word,)))
    return tuple(part for part in EVERY if part in wanted) if wanted else default
