"""What a run consists of: its parts, its sizes, and the variables that steer it. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

END_TO_END = ("uniform", "uniform_64", "hot", "pingpong", "idle", "half_load")
PARTS = ("ledger", *END_TO_END, "drain", "reads")
"""In the order in which they run."""

GROUPS = {"end_to_end": END_TO_END}
SECONDS_MAX = 600
CONCURRENCY_MAX = 4096


class BadVariable(Exception):  # noqa: N818 - reads as what it is
    """A variable has a value that cannot be used; the text is one line."""


@dataclass(frozen=True, slots=True)
class Plan:
    """The sizes of a run."""

    full: bool = False
    seconds: int = 10
    """Of one stretch."""
    concurrency: int = 256
    backlog: int = 5_000
    accounts: int = 10_000
    parts: tuple[str, ...] = PARTS
    profile: bool = False

    @property
    def yardstick_seconds(self) -> int:
        """Of one run of the yardstick, before and after each stretch."""
        return max(1, min(10, self.seconds // 3))


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
        backlog=50_000 if full else 5_000,
        parts=_parts(environment.get("ONLY", "")),
        profile=_flag(environment, "PROFILE"),
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


def _parts(text: str) -> tuple[str, ...]:
    wanted: set[str] = set()
    for word in text.replace(",", " ").split():
        if word not in PARTS and word not in GROUPS:
            raise BadVariable(f"ONLY names {word!r}: known are {', '.join((*GROUPS, *PARTS))}")
        wanted.update(GROUPS.get(word, (word,)))
    return tuple(part for part in PARTS if part in wanted) if wanted else PARTS
