"""What a run tells: a line for each fault while it runs, a table at the end, and chaos.json for programs."""

from __future__ import annotations

import os
import platform
import subprocess
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from deploy.local import files
from tests.chaos.history import History
from tests.chaos.judge import Verdict, View
from tests.chaos.schedule import Round

VIOLATIONS_SHOWN = 40


@dataclass(frozen=True, slots=True)
class Struck:
    """A fault as it was: when it began (seconds since the start), and how long healing took after it ended."""

    at: float
    turn: Round
    heal_seconds: float | None
    """None: not well again in time, or nobody could look (a deployment elsewhere)."""


@dataclass(slots=True)
class Report:
    """Everything there is to tell about a run."""

    seed: int
    rounds: int
    lanes: int
    target: str
    started_at: datetime = field(default_factory=lambda: datetime.now(UTC))
    struck: list[Struck] = field(default_factory=list)
    seconds: float = 0.0
    quiet_seconds: float = 0.0

    def document(self, history: History, view: View, verdict: Verdict) -> dict[str, Any]:
        """The content of chaos.json."""
        statuses = Counter(transfer["status"] for transfer in view.transfers.values())
        return {
            "commit": commit(),
            "seed": self.seed,
            "rounds": len(self.struck),
            "faults": [
                {
                    "at": round(one.at, 2),
                    "component": one.turn.component,
                    "fault": one.turn.fault,
                    "seconds": one.turn.seconds,
                }
                for one in sorted(self.struck, key=lambda one: one.at)
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
            "slowest_heal_s": round(max((one.heal_seconds or 0.0 for one in self.struck), default=0.0), 2),
            "violations": verdict.violations,
            "requests": sum(history.answers.values()),
            "answers": dict(sorted(history.answers.items())),
            "failures": dict(Counter(t["failure"]["code"] for t in view.transfers.values() if t["failure"])),
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
    """Write chaos.json, whole or not at all."""
    files.make_folder(path.parent)
    files.write_json(path, document)


def show(console: Console, report: Report, document: dict[str, Any]) -> None:
    """The tables at the end."""
    console.print(_faults(report.struck))
    console.print(_counts(document))
    for text in document["violations"][:VIOLATIONS_SHOWN]:
        console.print(f"  violation: {text}", style="bold red", highlight=False)
    more = len(document["violations"]) - VIOLATIONS_SHOWN
    if more > 0:
        console.print(f"  and {more} more, in chaos.json", style="red")
    verdict = "FAILED" if document["violations"] else "passed"
    console.print(
        f"{verdict}: seed {report.seed}, {document['rounds']} faults in {report.seconds:.0f} s, "
        f"{document['accepted']} transfers accepted; all of them terminal {report.quiet_seconds:.1f} s after the last fault",
        style="bold red" if document["violations"] else "bold green",
        highlight=False,
    )


def _faults(struck: Sequence[Struck]) -> Table:
    table = Table("fault", "times", "slowest heal", title="What was broken", title_justify="left")
    by_fault: dict[str, list[Struck]] = defaultdict(list)
    for one in struck:
        by_fault[one.turn.fault].append(one)
    for fault, ones in sorted(by_fault.items()):
        healed = [one.heal_seconds for one in ones if one.heal_seconds is not None]
        table.add_row(fault, str(len(ones)), f"{max(healed):.1f} s" if healed else "")
    return table


def _counts(document: dict[str, Any]) -> Table:
    table = Table("what", "count", title="What became of the money", title_justify="left")
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
    """The commit of this tree, with a mark when it was changed since; empty outside of a repository."""
    try:
        found = subprocess.run(["git", "describe", "--always", "--dirty"], capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return ""
    return found.stdout.strip()
