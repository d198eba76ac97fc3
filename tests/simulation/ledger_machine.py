"""A state machine that generates histories of a ledger, and compares a real one with the naive model after each step.

The real ledger implements `Ledger`: the rules over an in-memory store, or the service's commands on PostgreSQL.
Both receive the same steps. A failing history is shrunk and printed as its steps.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import ClassVar, NamedTuple, Protocol

from hypothesis import HealthCheck, note, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from tests.simulation.naive_ledger import BALANCE_LIMIT, Line, NaiveLedger, Outcome, Request, Result, Transfer

EXTERNAL = {"external USD": "USD", "external EUR": "EUR"}
WALLETS = {"alice": "USD", "bob": "USD", "carol": "USD", "emma": "EUR"}
UNKNOWN = ("unknown", "missing")
EVERYTHING, TOO_MUCH = "everything", "one too much"
HOUR = 3600
STEPS = 30


class Books(NamedTuple):
    """The state of a ledger: balances and numbers of lines, frozen wallets, all lines and outcomes."""

    balances: dict[str, int]
    numbers: dict[str, int]
    frozen: set[str]
    lines: list[Line]
    outcomes: dict[str, Outcome]


class Ledger(Protocol):
    """A real ledger, addressed by names. Its clock stands still unless it is set."""

    def open(self, wallets: dict[str, str], external: dict[str, str]) -> None:
        """Open these empty wallets and external accounts, each in its currency."""

    def set_clock(self, seconds: int) -> None:
        """Set the ledger's clock."""

    def post(self, batch: Sequence[Transfer]) -> list[Result]:
        """Post a batch."""

    def void(self, voids: Sequence[tuple[str, Request]], reason: str) -> list[Result]:
        """Void these."""

    def post_with_concurrent_voids(
        self, batch: Sequence[Transfer], voids: Sequence[tuple[str, Request]], reason: str
    ) -> list[Result]:
        """Post a batch; the voids commit after it has read the outcomes and before it has written its own."""

    def set_frozen(self, wallet: str, *, frozen: bool) -> None:
        """Freeze or unfreeze."""

    def books(self) -> Books:
        """The state of these wallets."""


class Draft(NamedTuple):
    """A generated transfer; a known id keeps its request, unless it is `forged`."""

    id: int
    source: str
    destination: str
    amount: int | str
    currency: str
    seconds: int
    forged: bool


customers = st.sampled_from([name for name, currency in WALLETS.items() for _ in range(6 if currency == "USD" else 1)])
any_wallet = st.one_of(*[customers] * 9, st.sampled_from([*EXTERNAL, *WALLETS, *UNKNOWN]))
ids = st.integers(1, 60)
amounts = st.one_of(
    *[st.integers(1, 60)] * 6,
    *[st.sampled_from([EVERYTHING, TOO_MUCH])] * 2,
    st.sampled_from([BALANCE_LIMIT, BALANCE_LIMIT - 50, 10**15]),
)
drafts = st.builds(
    Draft,
    id=ids,
    source=any_wallet,
    destination=any_wallet,
    amount=amounts,
    currency=st.sampled_from(["USD"] * 9 + ["EUR"]),
    seconds=st.sampled_from([60] * 9 + [0, -1]),
    forged=st.sampled_from([False] * 9 + [True]),
)


class LedgerMachine(RuleBasedStateMachine):
    """The steps, and the invariants after each."""

    make: ClassVar[Callable[[], Ledger]]
    counts: ClassVar[dict[str, int]]

    def __init__(self) -> None:
        super().__init__()
        self.ledger = type(self).make()
        self.model = NaiveLedger()
        self.requests: dict[str, Request] = {}
        self.first: dict[str, Outcome] = {}
        self.counts["sequences"] += 1

    @initialize()
    def open(self) -> None:
        for name, currency in WALLETS.items():
            self.model.open(name, currency)
        for name, currency in EXTERNAL.items():
            self.model.open(name, currency, external=True)
        self.ledger.open(WALLETS, EXTERNAL)
        self.ledger.set_clock(0)
        first = (
            Draft(100 + i, self._external_account(to), to, 100, WALLETS[to], 60, forged=False)
            for i, to in enumerate(WALLETS)
        )
        self._post(list(first))

    @rule(to=customers, amount=st.one_of(*[st.integers(1, 200)] * 9, st.just(BALANCE_LIMIT - 100)), id_=ids)
    def deposit(self, to: str, amount: int, id_: int) -> None:
        """Deposit money from an external account."""
        self._post([Draft(id_, self._external_account(to), to, amount, WALLETS[to], 60, forged=False)])

    @rule(batch=st.lists(drafts, min_size=1, max_size=12))
    def post(self, batch: list[Draft]) -> None:
        self._post(batch)

    @rule(voided=st.lists(ids, min_size=1, max_size=6), reason=st.sampled_from(["timed_out", "cancelled"]))
    def void(self, voided: list[int], reason: str) -> None:
        voids = [self._named(number) for number in voided]
        expected = [self.model.void(id_, request, reason) for id_, request in voids]

        self._compare(expected, self.ledger.void(voids, reason))

    @rule(batch=st.lists(drafts, min_size=1, max_size=6), number=ids)
    def post_with_a_concurrent_void(self, batch: list[Draft], number: int) -> None:
        """The result must be as if the void had come first, whatever the batch had decided."""
        transfers = self._resolve(batch)
        voids = [self._named(number), (transfers[0].id, self.requests[transfers[0].id])]
        for id_, request in voids:
            self.model.void(id_, request, "timed_out")
        expected = self.model.post(transfers)

        self._compare(expected, self.ledger.post_with_concurrent_voids(transfers, voids, "timed_out"))

    @rule(number=ids)
    def void_with_another_request(self, number: int) -> None:
        """A void with another request for a known id is a conflict."""
        id_, request = self._named(number)
        forged = request._replace(amount=request.amount + 1)
        expected = self.model.void(id_, forged, "cancelled")

        self._compare([expected], self.ledger.void([(id_, forged)], "cancelled"))

    @rule(wallet=customers)
    def freeze(self, wallet: str) -> None:
        self.model.freeze(wallet)
        self.ledger.set_frozen(wallet, frozen=True)

    @precondition(lambda self: self.model.frozen)
    @rule(data=st.data())
    def unfreeze(self, data: st.DataObject) -> None:
        wallet = data.draw(st.sampled_from(sorted(self.model.frozen)), label="wallet")
        self.model.unfreeze(wallet)
        self.ledger.set_frozen(wallet, frozen=False)

    @rule(seconds=st.sampled_from([1, 30, 60, 61, 1, 30, 60, 61, HOUR, -1, -30, -HOUR]))
    def set_time(self, seconds: int) -> None:
        """Forward, or back: the clock of a server can be set."""
        self.model.now += seconds
        self.ledger.set_clock(self.model.now)

    @invariant()
    def the_books_match_the_model(self) -> None:
        if not self.model.balances:
            return
        self.counts["steps"] += 1
        books = self.ledger.books()
        assert self.model.balances == books.balances
        assert {name: len(self.model.lines_of(name)) for name in self.model.balances} == books.numbers
        assert self.model.frozen == books.frozen
        assert sorted(self.model.lines) == sorted(books.lines)
        assert {outcome.id: outcome for outcome in self.model.outcomes} == books.outcomes
        self._check_invariants(books)

    def _check_invariants(self, books: Books) -> None:
        """Invariants that do not depend on the model."""
        for currency in set(EXTERNAL.values()):
            assert 0 == sum(books.balances[name] for name, held in (EXTERNAL | WALLETS).items() if held == currency)
        assert all(books.balances[name] >= 0 for name in WALLETS), "no wallet is overdrawn"
        assert all(line.balance <= BALANCE_LIMIT for line in books.lines if line.wallet in WALLETS), "within the limit"
        for name in books.balances:
            chain = sorted((line for line in books.lines if line.wallet == name), key=lambda line: line.number)
            assert list(range(1, len(chain) + 1)) == [line.number for line in chain]
            assert all(line.balance >= 0 for line in chain if name in WALLETS), "no wallet was ever overdrawn"
            assert not chain or chain[0].balance == chain[0].amount
            for before, after in pairwise(chain):
                assert before.balance + after.amount == after.balance, "each line continues the one before"
                assert before.at <= after.at, "times never decrease along a wallet"
        for id_, outcome in books.outcomes.items():
            assert self.first.setdefault(id_, outcome) == outcome, "an outcome never changes"
        assert self.first.keys() == books.outcomes.keys(), "an outcome is never deleted"

    @staticmethod
    def _external_account(wallet: str) -> str:
        """The external account of this wallet's currency."""
        return next(name for name, currency in EXTERNAL.items() if currency == WALLETS[wallet])

    def _post(self, batch: Sequence[Draft]) -> None:
        transfers = self._resolve(batch)
        expected = self.model.post(transfers)

        self._compare(expected, self.ledger.post(transfers))

    def _compare(self, expected: list[Result], actual: list[Result]) -> None:
        for result in expected:
            kind = result.reason or result.outcome
            self.counts[kind] = self.counts.get(kind, 0) + 1
        assert expected == actual, f"the model says {expected}, the ledger {actual}"

    def _named(self, number: int) -> tuple[str, Request]:
        """A transfer by its number; an unknown one gets a request of its own."""
        id_ = f"transfer {number}"
        return id_, self.requests.setdefault(id_, Request("alice", "bob", number, "USD"))

    def _resolve(self, batch: Sequence[Draft]) -> list[Transfer]:
        """The transfers of these drafts at the current time."""
        transfers = []
        for draft in batch:
            request = Request(draft.source, draft.destination, self._amount(draft), draft.currency)
            id_ = f"transfer {draft.id}"
            known = self.requests.setdefault(id_, request)
            transfers.append(Transfer(id_, request if draft.forged else known, self.model.now + draft.seconds))
        note(f"    # {transfers}")
        return transfers

    def _amount(self, draft: Draft) -> int:
        if isinstance(draft.amount, int):
            return draft.amount
        balance = max(0, self.model.balances.get(draft.source, 0))
        return balance + 1 if draft.amount == TOO_MUCH else max(1, balance)


def run(make: Callable[[], Ledger], *, examples: int, fixed: bool) -> dict[str, int]:
    """Run this many histories on ledgers from `make`; return the numbers of sequences, steps and results by kind.

    `fixed` repeats the same histories in every run. Otherwise they are new each time.

    Raises:
        AssertionError: a ledger and the model differ; the steps are printed.
    """
    counts: dict[str, int] = {"sequences": 0, "steps": 0}
    machine = type("Machine", (LedgerMachine,), {"make": staticmethod(make), "counts": counts})
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=examples,
            stateful_step_count=STEPS,
            derandomize=fixed,
            database=None,
            deadline=None,
            print_blob=True,
            suppress_health_check=list(HealthCheck),
        ),
    )
    return counts
