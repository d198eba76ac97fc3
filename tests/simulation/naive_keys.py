"""The simplest model of an idempotency key: one transfer for each user and key.

It checks a history afterwards: every request, when it was sent, and its response, against the records. It is
written from the guarantees and shares no code with the services.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

ACCEPTED = "accepted"
REPLAYED = "replayed"
REUSED = "idempotency_key_reused"
IN_USE = "idempotency_key_in_use"
REFUSED = "insufficient_funds"
UNKNOWN = "unknown"
"""No response, or one that leaves the outcome unknown: 503, 504."""

Name = tuple[str, str]


class Call(NamedTuple):
    """One request with a key, from one tick of a shared counter to another, and its response."""

    user: str
    key: str
    amount: int
    began: int
    ended: int
    kind: str
    transfer: str | None = None
    body: str | None = None


class Recorded(NamedTuple):
    """The transfer that a key created, and its amount."""

    transfer: str
    amount: int


def contradictions(history: Iterable[Call], recorded: Mapping[Name, Recorded]) -> list[str]:
    """Every response that contradicts one transfer for each user and key, as sentences; empty if correct."""
    by_name: dict[Name, list[Call]] = defaultdict(list)
    for call in history:
        by_name[call.user, call.key].append(call)
    found = [f"{name}: recorded without a request" for name in recorded.keys() - by_name.keys()]
    for name, calls in by_name.items():
        made = recorded.get(name)
        found += [f"{name}: {text}" for text in (_of_new(calls) if made is None else _of_used(calls, made))]
    return found


def _of_new(calls: Sequence[Call]) -> list[str]:
    """Without a record, no response may claim one."""
    return [f"not recorded: {call}" for call in calls if call.kind not in (IN_USE, REFUSED, UNKNOWN)]


def _of_used(calls: Sequence[Call], made: Recorded) -> list[str]:
    accepted = [call for call in calls if call.kind in (ACCEPTED, REPLAYED)]
    decided_at = min((call.ended for call in calls if call.kind in (ACCEPTED, REPLAYED, REUSED)), default=None)
    found = [f"another transfer: {call}" for call in accepted if (call.transfer, call.amount) != made]
    if all(call.amount != made.amount for call in calls):
        found.append(f"{made} does not match any request")
    if sum(call.kind == ACCEPTED for call in calls) > 1:
        found.append("accepted as new more than once")
    if len({call.body for call in accepted}) > 1:
        found.append("replayed with another body")
    for call in calls:
        if call.kind == REUSED and call.amount == made.amount:
            found.append(f"refused as reused for an equal request: {call}")
        if call.kind in (ACCEPTED, REPLAYED, REUSED, UNKNOWN):
            continue
        if call.kind not in (IN_USE, REFUSED):
            found.append(f"not a valid response: {call}")
        elif decided_at is not None and decided_at < call.began:
            found.append(f"not replayed after its outcome was known: {call}")
    return found
