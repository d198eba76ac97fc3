"""Statements about requested runs of the proof; the caller's connection comes first."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import NamedTuple
from uuid import UUID

from services.chassis.database import Connection
from services.chassis.statements import Statements
from services.wallet.seal import Head
from services.wallet.store import Check, Proof

statements = Statements(Path(__file__).parent / "sql" / "queries_proof_run.sql")

RUNNING, PASSED, FAILED, ABANDONED = "running", "passed", "failed", "abandoned"

SILENT = timedelta(seconds=15)
"""A running run that was not updated for so long was abandoned: its process updates it every second."""

KEPT = timedelta(days=30)
"""How long ended runs are kept."""


@dataclass(slots=True)
class Progress:
    """How far a run is: the check in progress, the checks done, and the sealed blocks compared, of how many if known."""

    current: str | None = None
    checks_done: int = 0
    blocks_done: int = 0
    blocks_total: int | None = None


class ProofRun(NamedTuple):
    """A requested run. `whole`: all blocks are compared. `required` is the block that must be found. `proof` is its result."""

    id: UUID
    whole: bool
    required: Head | None
    state: str
    started_at: datetime
    updated_at: datetime
    ended_at: datetime | None
    progress: Progress
    proof: Proof | None


async def insert_run(
    connection: Connection, run_id: UUID, *, whole: bool, required: Head | None, instance: str
) -> bool:
    """Start a run; False if one is running. Silent runs are abandoned first, and old ones removed."""
    await connection.execute(statements.abandon_silent_run, SILENT)
    await connection.execute(statements.delete_old_runs, KEPT)
    text = None if required is None else str(required)
    return await connection.fetchval(statements.insert_run, run_id, whole, text, instance) is not None


async def find_running(connection: Connection) -> ProofRun | None:
    """The running run."""
    run_id = await connection.fetchval(statements.find_running)
    return None if run_id is None else await find_run(connection, run_id)


async def find_run(connection: Connection, run_id: UUID) -> ProofRun | None:
    """A run and its progress."""
    row = await connection.fetchrow(statements.find_run, run_id, SILENT)
    if row is None:
        return None
    required = None if row["required"] is None else Head.parse(row["required"])
    progress = Progress(row["current"], row["checks_done"], row["blocks_done"], row["blocks_total"])
    times = row["started_at"], row["updated_at"], row["ended_at"]
    return ProofRun(row["id"], row["whole"], required, row["state"], *times, progress, _proof(row["proof"]))


async def update_progress(connection: Connection, run_id: UUID, progress: Progress) -> bool:
    """Record how far a run is; False if it is not running any more."""
    done = progress.checks_done, progress.blocks_done, progress.blocks_total
    return await connection.fetchval(statements.update_progress, run_id, progress.current, *done) is not None


async def end_run(connection: Connection, run_id: UUID, proof: Proof | None, *, progress: Progress) -> bool:
    """End a run with its result, or as abandoned without one; False if it is not running any more."""
    state = ABANDONED if proof is None else PASSED if proof.ok else FAILED
    done = progress.checks_done, progress.blocks_done, progress.blocks_total
    return await connection.fetchval(statements.end_run, run_id, state, _text(proof), *done) is not None


def _text(proof: Proof | None) -> str | None:
    if proof is None:
        return None
    head = None if proof.head is None else str(proof.head)
    checks = [check._asdict() for check in proof.checks]
    return json.dumps({"ok": proof.ok, "at": proof.at.isoformat(), "checks": checks, "head": head})


def _proof(text: str | None) -> Proof | None:
    if text is None:
        return None
    stored = json.loads(text)
    head = None if stored["head"] is None else Head.parse(stored["head"])
    return Proof(
        stored["ok"], datetime.fromisoformat(stored["at"]), [Check(**check) for check in stored["checks"]], head
    )
