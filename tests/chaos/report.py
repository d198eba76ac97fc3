"""The output of a run: tables for people, chaos.json for programs."""

from __future__ import annotations

import os
import platform
import subprocess
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any

from rich.console import Console
from rich.table import Table

from deploy.local import files
from tests.chaos.checks import FinalState, Verdict
from tests.chaos.history import History
from tests.chaos.schedule import Round

VIOLATIONS_SHOWN = 40


@dataclass(frozen=True, slots=True)
class Injected:
    """A fault that was injected: when it began (seconds since the start), and how long recovery took after it ended."""

    at: float
    round: Round
    heal_seconds: float | None
    """None: not recovered in time, or not observable (an external deployment)."""
    ended_at: float
    """When the fault and the recovery had ended (seconds since the start)."""


@dataclass(slots=True)
class Report:
    """Everything to report about a run."""

    seed: int
    rounds: int
    lanes: int
    target: str
    started_at: datetime = field(default_factory=lambda: datetime.now(UTC))
    injected: list[Injected] = field(default_factory=list)
    began: float = 0.0
    """When the faults began, in seconds since the run began."""
    seconds: float = 0.0
    quiet_seconds: float = 0.0

    def gap(self, one: Injected, history: History) -> float:
        """The longest time without an accepted payment during a fault and the recovery, in seconds."""
        return history.longest_gap(self.began + one.at, self.began + one.ended_at)

    def document(self, history: History, state: FinalState, verdict: Verdict) -> dict[str, Any]:
        """The content of chaos.json."""
        statuses = Counter(transfer["status"] for transfer in state.transfers.values())
        return {
            "commit": commit(),
            "seed": self.seed,
            "rounds": len(self.injected),
            "faults": [
                {
                    "at": round(one.at, 2),
                    "component": one.round.component,
                    "fault": one.round.fault,
                    "seconds": one.round.seconds,
                    "accepted_nothing_s": round(self.gap(one, history), 2),
                }
                for one in sorted(self.injected, key=lambda one: one.at)
            ],
            "sent": len(history.intents),
            "accepted": sum(intent.transfer_id is not None for intent in history.intents),
            "completed": statuses["COMPLETED"],
            "failed": statuses["FAILED"],
            "lost": len(verdict.lost),
            "doubled": len(verdict.doubled),
            "stuck": len(verdict.stuck),
            "contradictory": len(verdict.contradictory),
            "conserved": verdict.conserved,
            "slowest_heal_s": round(max((one.heal_seconds or 0.0 for one in self.injected), default=0.0), 2),
            "violations": verdict.violations,
            "requests": sum(history.responses.values()),
            "responses": dict(sorted(history.responses.items())),
            "failures": dict(Counter(t["failure"]["code"] for t in state.transfers.values() if t["failure"])),
            "replays": sum(a.replayed for intent in history.intents for a in intent.attempts),
            "snapshots": history.snapshots,
            "run_s": round(self.seconds, 1),
            "quiet_s": round(self.quiet_seconds, 1),
            "lanes": self.lanes,
            "target": self.target,
            "started_at": self.started_at.isoformat(timespec="seconds"),
            "machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores",
        }


def write(path: Path, document: dict[str, Any]) -> None:
    """Write chaos.json atomically."""
    files.make_folder(path.parent)
    files.write_json(path, document)


def show(console: Console, report: Report, document: dict[str, Any]) -> None:
    """Print the final tables."""
    console.print(_faults(report, document["faults"]))
    console.print(_counts(document))
    for text in document["violations"][:VIOLATIONS_SHOWN]:
        console.print(f"  violation: {text}", style="bold red", highlight=False)
    more = len(document["violations"]) - VIOLATIONS_SHOWN
    if more > 0:
        console.print(f"  and {more} more, in chaos.json", style="red")
    verdict = "FAILED" if document["violations"] else "passed"
    console.print(
        f"{verdict}: seed {report.seed}, {document['rounds']} faults in {report.seconds:.0f} s, "
        f"{document['accepted']} transfers accepted, all terminal {report.quiet_seconds:.1f} s after the last fault",
        style="bold red" if document["violations"] else "bold green",
        highlight=False,
    )


def _faults(report: Report, described: Sequence[Mapping[str, Any]]) -> Table:
    columns = ("fault", "times", "slowest recovery", "median s without acceptance", "longest")
    table = Table(*columns, title="Faults injected", title_justify="left")
    healed, gaps = defaultdict(list), defaultdict(list)
    for one in report.injected:
        healed[one.round.fault].append(one.heal_seconds or 0.0)
    for fault in described:
        gaps[fault["fault"]].append(fault["accepted_nothing_s"])
    for name, seconds in sorted(healed.items()):
        longest = f"{max(seconds):.1f} s" if any(seconds) else ""
        table.add_row(name, str(len(seconds)), longest, f"{median(gaps[name]):.1f}", f"{max(gaps[name]):.1f}")
    return table


def _counts(document: dict[str, Any]) -> Table:
    table = Table("what", "count", title="Transfers", title_justify="left")
    names = (
        "sent",
        "accepted",
        "completed",
        "failed",
        "lost",
        "doubled",
        "stuck",
        "contradictory",
        "snapshots",
        "replays",
    )
    for name in names:
        bad = name in {"lost", "doubled", "stuck", "contradictory"} and document[name]
        table.add_row(name, str(document[name]), style="bold red" if bad else "")
    table.add_row("money conserved", "yes" if document["conserved"] else "NO")
    return table


def commit() -> str:
    """The commit of the working tree, marked if it has local changes; empty outside a repository."""
    try:
        found = subprocess.run(["git", "describe", "--always", "--dirty"], capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return ""
    return found.stdout.strip()
