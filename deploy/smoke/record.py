"""The steps of a smoke run: their times, and the step at which it failed."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any


class SmokeError(Exception):
    """A step whose result is not the expected one; its text is one line."""


@dataclass(slots=True)
class Step:
    """One step; `detail` is what was seen, or why it failed."""

    name: str
    ms: float = 0.0
    ok: bool = False
    detail: str = ""


@dataclass(slots=True)
class Record:
    """The steps of one run, in order; `error` is the line for a person if it failed."""

    gateway: str
    steps: list[Step] = field(default_factory=list)
    error: str | None = None

    @contextlib.contextmanager
    def step(self, name: str) -> Iterator[Step]:
        """Measure a step. It is ok if the block ends without an error."""
        step = Step(name)
        self.steps.append(step)
        started = time.perf_counter()
        try:
            yield step
            step.ok = True
        finally:
            step.ms = (time.perf_counter() - started) * 1000

    def fail(self, reason: str) -> None:
        """The run ended, at its last step if it had one."""
        where = ""
        if self.steps:
            self.steps[-1].detail = reason
            where = f" at the step {self.steps[-1].name!r}"
        self.error = f"the smoke test of {self.gateway} failed{where}: {reason}"

    def document(self) -> dict[str, Any]:
        """The run as JSON."""
        steps = [
            {"step": step.name, "ok": step.ok, "ms": round(step.ms, 1), "detail": step.detail} for step in self.steps
        ]
        return {"gateway": self.gateway, "ok": self.error is None, "error": self.error, "steps": steps}


def expect(actual: object, expected: object, what: str) -> None:
    """Compare a result with the expected one.

    Raises:
        SmokeError: they differ.
    """
    if actual != expected:
        raise SmokeError(f"{what} is {actual}, and must be {expected}")
