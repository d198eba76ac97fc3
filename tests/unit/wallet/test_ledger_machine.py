"""The rules of the ledger, through whole histories, against the naive model."""

from __future__ import annotations

import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from uuid import NAMESPACE_OID, UUID, uuid5

import pytest

from services.wallet import ledger
from services.wallet.ledger import Account, Decision, Entry, Outcome, Posting
from tests.harness import drills
from tests.simulation import ledger_machine, naive_ledger
from tests.simulation.ledger_machine import Books
from tests.simulation.naive_ledger import Line, Request, Result, Transfer

EPOCH = datetime(2026, 1, 1, tzinfo=UTC)
KINDS = {
    "posted",
    "conflict",
    "timed_out",
    "cancelled",
    "wallet_not_found",
    "currency_mismatch",
    "wallet_frozen",
    "insufficient_funds",
    "balance_limit",
}


def moment(seconds: int) -> datetime:
    return EPOCH + timedelta(seconds=seconds)


def seconds(at: datetime | None) -> int | None:
    return None if at is None else round((at - EPOCH).total_seconds())


def uuid(name: str) -> UUID:
    return uuid5(NAMESPACE_OID, name)


class InMemory:
    """Stores the decisions of the rules in dictionaries. It has no rules of its own."""

    def __init__(self) -> None:
        self.names: dict[UUID, str] = {}
        self.accounts: dict[UUID, Account] = {}
        self.last_entry_at: dict[UUID, datetime] = {}
        self.outcomes: dict[UUID, Outcome] = {}
        self.requests: dict[bytes, Request] = {}
        self.entries: list[tuple[datetime, Entry]] = []
        self.now = EPOCH

    def open(self, wallets: dict[str, str], external: dict[str, str]) -> None:
        for name, currency in (wallets | external).items():
            self.accounts[self._id(name)] = Account(self._id(name), name in external, currency, False, 0, 0, 0)

    def set_clock(self, seconds: int) -> None:
        self.now = moment(seconds)

    def post(self, batch: Sequence[Transfer]) -> list[Result]:
        decision = self._decide(self._postings(batch))
        self._write(decision)
        return self._results(decision.results)

    def void(self, voids: Sequence[tuple[str, Request]], reason: str) -> list[Result]:
        results = []
        for name, request in voids:
            id_, request_hash = self._id(name), self._hash(request)
            empty = (None, None, None, None, None)
            outcome = self.outcomes.setdefault(id_, Outcome(id_, ledger.VOIDED, reason, request_hash, *empty, self.now))
            results.append(ledger.result_of(outcome, request_hash))
        return self._results(results)

    def post_with_concurrent_voids(
        self, batch: Sequence[Transfer], voids: Sequence[tuple[str, Request]], reason: str
    ) -> list[Result]:
        """A discarded decision has not changed its inputs."""
        self._decide(self._postings(batch))
        self.void(voids, reason)
        return self.post(batch)

    def set_frozen(self, wallet: str, *, frozen: bool) -> None:
        id_ = self._id(wallet)
        self.accounts[id_] = self.accounts[id_]._replace(frozen=frozen)

    def books(self) -> Books:
        accounts = {self.names[account.id]: account for account in self.accounts.values()}
        return Books(
            {name: account.posted for name, account in accounts.items()},
            {name: account.seq for name, account in accounts.items()},
            {name for name, account in accounts.items() if account.frozen},
            [self._line(at, entry) for at, entry in self.entries],
            {self.names[outcome.transfer_id]: self._outcome(outcome) for outcome in self.outcomes.values()},
        )

    def _decide(self, postings: Sequence[Posting]) -> Decision:
        named = {id_ for posting in postings for id_ in (posting.source_id, posting.destination_id)}
        locked = [self.accounts[id_] for id_ in sorted(named & self.accounts.keys())]
        recorded = {p.transfer_id: self.outcomes[p.transfer_id] for p in postings if p.transfer_id in self.outcomes}
        now = max([self.now, *(self.last_entry_at[id_] for id_ in named & self.last_entry_at.keys())])
        return ledger.decide(locked, postings, recorded, now)

    def _write(self, decision: Decision) -> None:
        for outcome in decision.outcomes:
            assert outcome.transfer_id not in self.outcomes
            self.outcomes[outcome.transfer_id] = outcome
        self.entries += [(decision.at, entry) for entry in decision.entries]
        for state in decision.changed:
            id_ = state.account.id
            self.accounts[id_] = self.accounts[id_]._replace(posted=state.posted, seq=state.seq)
            self.last_entry_at[id_] = decision.at

    def _postings(self, batch: Sequence[Transfer]) -> list[Posting]:
        return [
            Posting(
                self._id(id_),
                self._id(request.source),
                self._id(request.destination),
                request.amount,
                request.currency,
                moment(expires),
                None,
                self._hash(request),
            )
            for id_, request, expires in batch
        ]

    def _id(self, name: str) -> UUID:
        self.names[uuid(name)] = name
        return uuid(name)

    def _hash(self, request: Request) -> bytes:
        digest = sha256(repr(request).encode()).digest()
        self.requests[digest] = request
        return digest

    def _line(self, at: datetime, entry: Entry) -> Line:
        wallet, id_ = self.names[entry.account_id], self.names[entry.transfer_id]
        return Line(
            wallet,
            entry.seq,
            id_,
            entry.currency,
            entry.amount,
            entry.balance_after,
            round((at - EPOCH).total_seconds()),
        )

    def _outcome(self, outcome: Outcome) -> naive_ledger.Outcome:
        return naive_ledger.Outcome(
            self.names[outcome.transfer_id],
            self.requests[outcome.request_hash],
            outcome.outcome,
            outcome.reason,
            round((outcome.at - EPOCH).total_seconds()),
        )

    @staticmethod
    def _results(results: Sequence[ledger.Result]) -> list[Result]:
        return [Result(result.outcome, result.reason, seconds(result.at)) for result in results]


@pytest.mark.timeout(drills.bound(600, 1800))
def test_the_rules_do_what_the_naive_ledger_does() -> None:
    """Guarantees 10, 16b: over thousands of steps decisions, balances, lines and outcomes are those of the naive ledger."""
    began = time.monotonic()
    counts = ledger_machine.run(InMemory, examples=drills.bound(150, 10_000), fixed=not drills.FULL)
    took = time.monotonic() - began

    print(f"{counts['sequences']} sequences, {counts['steps']} steps, {counts['steps'] / took:.0f} steps/s: {counts}")
    assert KINDS <= counts.keys()
    assert counts["steps"] > drills.bound(2500, 5000)
