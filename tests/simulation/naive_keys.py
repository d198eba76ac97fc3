"""What an idempotency key means, as plainly as it can be said: one transfer for each user and key, ever.

It judges a history afterwards: everything that was asked, when, and what was answered, against what is on record. It is
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
"""No answer, or one that says that nothing is known: 503, 504."""

Name = tuple[str, str]


class Said(NamedTuple):
    """One request with a key, from one tick of a common counter to another, and what was answered."""

    user: str
    key: str
    amount: int
    began: int
    ended: int
    kind: str
    transfer: str | None = None
    body: str | None = None


class Recorded(NamedTuple):
    """What a key made: a transfer, and of what amount."""

    transfer: str
    amount: int


def contradictions(history: Iterable[Said], recorded: Mapping[Name, Recorded]) -> list[str]:
    """Every answer that one transfer for each user and key does not allow, as sentences; none is right."""
    by_name: dict[Name, list[Said]] = defaultdict(list)
    for said in history:
        by_name[said.user, said.key].append(said)
    found = [f"{name}: on record, and nobody asked for it" for name in recorded.keys() - by_name.keys()]
    for name, asked in by_name.items():
        made = recorded.get(name)
        found += [f"{name}: {text}" for text in (_of_new(asked) if made is None else _of_used(asked, made))]
    return found


def _of_new(asked: Sequence[Said]) -> list[str]:
    """Nothing is on record: then nobody may have been told that there is."""
    return [f"not on record: {said}" for said in asked if said.kind not in (IN_USE, REFUSED, UNKNOWN)]


def _of_used(asked: Sequence[Said], made: Recorded) -> list[str]:
    told = [said for said in asked if said.kind in (ACCEPTED, REPLAYED)]
    decided_at = min((said.ended for said in asked if said.kind in (ACCEPTED, REPLAYED, REUSED)), default=None)
    found = [f"another transfer: {said}" for said in told if (said.transfer, said.amount) != made]
    if all(said.amount != made.amount for said in asked):
        found.append(f"{made} is not what anybody asked for")
    if sum(said.kind == ACCEPTED for said in asked) > 1:
        found.append("accepted as new more than once")
    if len({said.body for said in told}) > 1:
        found.append("replayed with another body")
    for said in asked:
        if said.kind == REUSED and said.amount == made.amount:
            found.append(f"reused by the very same request: {said}")
        if said.kind in (ACCEPTED, REPLAYED, REUSED, UNKNOWN):
            continue
        if said.kind not in (IN_USE, REFUSED):
            found.append(f"no answer for a key: {said}")
        elif decided_at is not None and decided_at < said.began:
            found.append(f"finalized before it was asked: {said}")
    return found
