"""The rules of the ledger, pure: from account states and an ordered list of postings to outcomes and entries. No I/O.

Signs: an account is a claim of a customer, so a credit (money coming in) is positive and a debit negative. Every posting is one
debit and one credit of the same amount and currency. External accounts are the only ones that may be negative.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from services.contracts.money import BALANCE_MAX, EXTERNAL_BALANCE_MAX

POSTED = "posted"
REJECTED = "rejected"
VOIDED = "voided"
CONFLICT = "conflict"
RETRY = "retry"

TIMED_OUT = "timed_out"
WALLET_NOT_FOUND = "wallet_not_found"
CURRENCY_MISMATCH = "currency_mismatch"
WALLET_FROZEN = "wallet_frozen"
INSUFFICIENT_FUNDS = "insufficient_funds"
BALANCE_LIMIT = "balance_limit"


class Account(NamedTuple):
    """An account as it was locked. `posted` and `held` in minor units; `seq` is the number of its last entry."""

    id: UUID
    external: bool
    currency: str
    frozen: bool
    posted: int
    held: int
    seq: int


class Posting(NamedTuple):
    """One transfer to be posted: move `amount` minor units from source to destination, before `expires_at`."""

    transfer_id: UUID
    source_id: UUID
    destination_id: UUID
    amount: int
    currency: str
    expires_at: datetime
    description: str | None
    request_hash: bytes


class Outcome(NamedTuple):
    """The permanent outcome of a transfer. The account ids and seqs are those of its entries, if it was posted."""

    transfer_id: UUID
    outcome: str
    reason: str | None
    request_hash: bytes
    source_id: UUID | None
    destination_id: UUID | None
    source_seq: int | None
    destination_seq: int | None
    description: str | None
    at: datetime


class Entry(NamedTuple):
    """One signed line on one account: the debit or the credit of a transfer. Immutable."""

    account_id: UUID
    seq: int
    transfer_id: UUID
    currency: str
    amount: int
    balance_after: int


class Result(NamedTuple):
    """The result of one item: its outcome, or `conflict` if the id belongs to another request."""

    transfer_id: UUID
    outcome: str
    reason: str | None
    at: datetime | None


@dataclass(slots=True)
class Running:
    """An account while a batch is being decided."""

    account: Account
    posted: int
    seq: int

    def write(self, posting: Posting, amount: int) -> Entry:
        """Add an entry to this account."""
        self.posted += amount
        self.seq += 1
        return Entry(self.account.id, self.seq, posting.transfer_id, posting.currency, amount, self.posted)


class Decision(NamedTuple):
    """What to write, all `at` one moment, and the results: one per posting, in order."""

    at: datetime
    outcomes: list[Outcome]
    entries: list[Entry]
    changed: list[Running]
    results: list[Result]


def decide(
    accounts: Iterable[Account], postings: Sequence[Posting], recorded: Mapping[UUID, Outcome], now: datetime
) -> Decision:
    """Decide the postings in order, as if one after another.

    `recorded` are the outcomes read after the accounts were locked; `now` is the clock of the ledger, read after the locks and
    not before any entry of these accounts. An id that occurs twice in the batch is decided once.
    """
    running = {account.id: Running(account, account.posted, account.seq) for account in accounts}
    known = dict(recorded)
    outcomes: list[Outcome] = []
    entries: list[Entry] = []
    results: list[Result] = []
    for posting in postings:
        outcome = known.get(posting.transfer_id)
        if outcome is None:
            outcome = _decide_one(running, posting, entries, now)
            known[posting.transfer_id] = outcome
            outcomes.append(outcome)
        results.append(result_of(outcome, posting.request_hash))
    assert sum(entry.amount for entry in entries) == 0, "the entries of a batch must balance"
    changed = [state for state in running.values() if state.seq != state.account.seq]
    return Decision(now, outcomes, entries, changed, results)


def result_of(outcome: Outcome, request_hash: bytes) -> Result:
    """The result for this request: the outcome, or `conflict` if the id belongs to another request."""
    if outcome.request_hash != request_hash:
        return Result(outcome.transfer_id, CONFLICT, None, None)
    return Result(outcome.transfer_id, outcome.outcome, outcome.reason, outcome.at)


def _decide_one(running: Mapping[UUID, Running], posting: Posting, entries: list[Entry], now: datetime) -> Outcome:
    source = running.get(posting.source_id)
    destination = running.get(posting.destination_id)
    if now > posting.expires_at:
        return _without_money(posting, VOIDED, TIMED_OUT, now)
    reason = _refusal(source, destination, posting)
    if reason is not None:
        return _without_money(posting, REJECTED, reason, now)
    assert source is not None, "an unknown source was refused above"
    assert destination is not None, "an unknown destination was refused above"
    # From here on the transfer cannot fail.
    debit = source.write(posting, -posting.amount)
    credit = destination.write(posting, posting.amount)
    entries += (debit, credit)
    return Outcome(
        posting.transfer_id,
        POSTED,
        None,
        posting.request_hash,
        posting.source_id,
        posting.destination_id,
        debit.seq,
        credit.seq,
        posting.description,
        now,
    )


def _refusal(source: Running | None, destination: Running | None, posting: Posting) -> str | None:
    """The reason to reject a posting, in order of precedence; None: post it."""
    if source is None or destination is None:
        return WALLET_NOT_FOUND
    if source.account.currency != posting.currency or destination.account.currency != posting.currency:
        return CURRENCY_MISMATCH
    if source.account.frozen or destination.account.frozen:
        return WALLET_FROZEN
    if not source.account.external and source.posted - source.account.held < posting.amount:
        return INSUFFICIENT_FUNDS
    balance_max = EXTERNAL_BALANCE_MAX if destination.account.external else BALANCE_MAX
    if destination.posted + posting.amount > balance_max or source.posted - posting.amount < -EXTERNAL_BALANCE_MAX:
        return BALANCE_LIMIT
    return None


def _without_money(posting: Posting, outcome: str, reason: str, now: datetime) -> Outcome:
    return Outcome(
        posting.transfer_id,
        outcome,
        reason,
        posting.request_hash,
        posting.source_id,
        posting.destination_id,
        None,
        None,
        posting.description,
        now,
    )
