"""One run of checks in a tree of its own, and its verdict about the missing guard."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from xml.etree import ElementTree as ET

ENGINES = "PAYFLOW_TEST_ENGINES"
CHECK_SECONDS_MAX = 100
"""The time limit of one check. A check that takes longer hangs, which is a failure."""

RUN_SECONDS_MAX = 300
"""The time limit of all checks of a mutant, in case the interpreter itself hangs."""

HANG = re.compile(r"\bTimeoutError\b|\bTimeout \(>")
"""How a deadline of a test, and that of pytest, appear in a report."""


class Verdict(Enum):
    """The verdict of a run."""

    GREEN = "green"
    RED = "red"
    BROKEN = "broken"
    """Not even the check that must stay green passes: the patch or the machine is at fault."""


@dataclass(frozen=True, slots=True)
class Run:
    """A verdict; `check` is the one that failed, `reason` the first line of its message."""

    verdict: Verdict
    seconds: float
    check: str = ""
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Result:
    """One check as reported by pytest; `failed` is None if it passed."""

    check: str
    failed: str | None


def run(tree: Path, engines: Path, checks: Sequence[str], *, seconds_max: float = RUN_SECONDS_MAX) -> Run:
    """Run the checks in order and stop at the first failure. The first check is the one that must stay green."""
    report = tree / "report.xml"
    report.unlink(missing_ok=True)
    began = time.monotonic()
    with (tree / "checks.log").open("wb") as log:
        child = subprocess.Popen(
            [
                *(sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", f"--junit-xml={report}"),
                *("-o", f"timeout={CHECK_SECONDS_MAX}", *checks),
            ],
            cwd=tree,
            env=os.environ | {ENGINES: str(engines), "PYTHONDONTWRITEBYTECODE": "1"},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            child.wait(seconds_max)
            in_time = True
        except subprocess.TimeoutExpired:
            in_time = False
        finally:
            # Also if it has ended: processes it left behind would disturb the next run.
            with contextlib.suppress(ProcessLookupError):
                os.killpg(child.pid, signal.SIGKILL)
            child.wait()
    seconds = time.monotonic() - began
    if not in_time:
        return Run(Verdict.RED, seconds, checks[-1], f"time limit: no end after {seconds_max:.0f} s")
    verdict, check, reason = evaluate(read_report(report), checks[0])
    return Run(verdict, seconds, check, reason or _last_line(tree / "checks.log"))


def evaluate(results: Sequence[Result], works: str) -> tuple[Verdict, str, str]:
    """The verdict, the failed check, and the reason."""
    for result in results:
        if result.failed is not None:
            verdict = Verdict.BROKEN if result.check == works else Verdict.RED
            return verdict, result.check, _reason(result.failed)
    if not any(result.check == works for result in results):
        return Verdict.BROKEN, works, ""
    return Verdict.GREEN, "", "all passed"


def read_report(report: Path) -> list[Result]:
    """The report of pytest, one result per check and phase; empty if pytest did not get that far."""
    if not report.exists():
        return []
    results = []
    for case in ET.parse(report).iter("testcase"):
        trouble = next((child for child in case if child.tag in ("failure", "error")), None)
        message = None if trouble is None else (trouble.get("message") or trouble.text or "failed")
        path = case.get("classname", "").replace(".", "/")
        results.append(Result(f"{path}.py::{case.get('name')}", message))
    return results


def _reason(reason: str) -> str:
    first_line = reason.strip().partition("\n")[0]
    return f"time limit: {first_line}" if HANG.search(first_line) else first_line


def _last_line(log: Path) -> str:
    lines = log.read_text(errors="replace").strip().splitlines()
    return lines[-1] if lines else "no output from pytest"
