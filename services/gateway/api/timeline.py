"""Pure: the steps of one transfer from three services, merged into one timeline."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

ORDER = (
    "accepted", "queued", "picked_up", "dead_lettered", "replayed", "discarded",
    "posted", "rejected", "voided", "completed", "failed", "notified",
)  # fmt: skip
"""The order of steps with the same time: the ledger's time is also the time of completion."""

COMPLETED = "COMPLETED"
FAILED = "FAILED"

_RANK = {step: rank for rank, step in enumerate(ORDER)}


def merge(
    known: Mapping[str, Any],
    *,
    outcome: Mapping[str, Any] | None,
    notifications: Iterable[Mapping[str, Any]],
    viewer: str | None,
    unavailable: Iterable[str],
) -> dict[str, Any]:
    """The timeline as clients get it: `known` is the transaction service's part, `outcome` the wallet's.

    A viewer sees only own notifications; an operator (no viewer) sees all, with the user ids.
    """
    transfer = known["transfer"]
    steps = [
        *known["steps"],
        *([_decided(outcome)] if outcome is not None else []),
        *(
            _notified(notification, viewer)
            for notification in notifications
            if viewer in (None, notification["user_id"])
        ),
    ]
    return {
        "transfer_id": transfer["id"],
        "status": transfer["status"],
        "steps": sorted(steps, key=_place),
        "waiting_for": known["waiting_for"],
        "summary": known["summary"],
        "unavailable": sorted(unavailable),
        # A transaction service of the release before does not send it.
        "as_of": known.get("as_of"),
    }


def of_outcome(transfer_id: str, outcome: Mapping[str, Any]) -> dict[str, Any]:
    """What the ledger's outcome says about a transfer, in the form of the transaction service's part.

    The outcome never changes, and the status follows it.
    """
    is_posted = outcome["outcome"] == "posted"
    return {
        "transfer": {"id": transfer_id, "status": COMPLETED if is_posted else FAILED},
        "steps": [],
        "waiting_for": None,
        "summary": "The money has arrived." if is_posted else "The transfer was not carried out. No money has moved.",
    }


def _decided(outcome: Mapping[str, Any]) -> dict[str, Any]:
    return {"at": outcome["at"], "service": "wallet", "step": outcome["outcome"], "detail": outcome["reason"]}


def _notified(notification: Mapping[str, Any], viewer: str | None) -> dict[str, Any]:
    detail = notification["kind"] if viewer is not None else f"{notification['kind']} to {notification['user_id']}"
    return {"at": notification["at"], "service": "notification", "step": "notified", "detail": detail}


def _place(step: Mapping[str, Any]) -> tuple[datetime, int]:
    return datetime.fromisoformat(step["at"]), _RANK.get(step["step"], len(ORDER))
