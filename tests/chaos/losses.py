"""What a restore has undone, by the history of the clients: the window of the loss, in seconds and in transfers."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from tests.chaos.history import TERMINAL, Intent
from tests.chaos.load import Load
from tests.harness.stack import Stack


@dataclass(slots=True)
class Losses:
    """The losses of one restore. Times are seconds since the run began."""

    destroyed_at: float
    accepted: int = 0
    """Transfers that clients know as accepted."""
    lost_ids: set[str] = field(default_factory=set)
    keys: set[str] = field(default_factory=set)
    """The keys of the lost transfers."""
    undone_ids: set[str] = field(default_factory=set)
    """Transfers whose outcome a client has seen, and which are PENDING again."""
    last_kept_at: float = 0.0
    first_lost_at: float | None = None
    seconds: float = 0.0
    """From the kill to the verified ledger."""
    replayed: int = 0
    accepted_again: int = 0

    @property
    def window_seconds(self) -> float:
        """From the first lost acceptance to the loss of the server; 0 if nothing was lost, or if its response came just after."""
        return 0.0 if self.first_lost_at is None else max(0.0, self.destroyed_at - self.first_lost_at)

    def document(self) -> dict[str, Any]:
        """The figures."""
        return {
            "accepted": self.accepted,
            "lost_transfers": len(self.lost_ids),
            "lost_window_seconds": round(self.window_seconds, 3),
            "last_kept_seconds_before_the_loss": round(self.destroyed_at - self.last_kept_at, 3),
            "outcomes_undone": len(self.undone_ids),
            "restored_after_seconds": round(self.seconds, 1),
            "replayed_by_key": self.replayed,
            "lost_and_accepted_again": self.accepted_again,
        }


async def measure(stack: Stack, load: Load, losses: Losses) -> None:
    """Compare what clients know with the restored database, before any role runs."""
    rows = await stack.query("transaction", "SELECT id, status FROM transfers")
    status = {str(row["id"]): row["status"] for row in rows}
    for intent in load.history.intents:
        for transfer_id, acknowledged_at in _acknowledged(intent).items():
            losses.accepted += 1
            if transfer_id in status:
                losses.last_kept_at = max(losses.last_kept_at, acknowledged_at or 0.0)
            else:
                losses.lost_ids.add(transfer_id)
                losses.keys.add(intent.key)
                if acknowledged_at is not None:
                    losses.first_lost_at = min(losses.first_lost_at or acknowledged_at, acknowledged_at)
    losses.undone_ids = {
        id_ for id_ in load.history.terminal if id_ in status and status[id_] not in TERMINAL
    } - losses.lost_ids


def _acknowledged(intent: Intent) -> dict[str, float | None]:
    """Each transfer that a response to this key named, and when the response came that accepted it; None: only replays came."""
    accepted: dict[str, float | None] = {}
    for attempt in intent.attempts:
        if attempt.transfer_id is not None:
            accepted.setdefault(attempt.transfer_id, None)
            if not attempt.replayed:
                accepted[attempt.transfer_id] = attempt.finished_at
    return accepted


def forget(load: Load, losses: Losses) -> None:
    """Remove from the history what the restore has undone: from here on, the ordinary checks apply."""
    for intent in load.history.intents:
        if intent.accepted_ids & losses.lost_ids:
            intent.attempts.clear()
            intent.transfer_id = None
        # A refusal may have been caused by what is undone: the money of a lost deposit, a lost payment.
        intent.refusal = None
    for transfer_id in losses.lost_ids | losses.undone_ids:
        load.history.terminal.pop(transfer_id, None)
