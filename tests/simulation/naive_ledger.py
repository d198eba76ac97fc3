"""The ledger as plainly as it can be said: a dictionary of balances, a list of outcomes, a list of lines. Slow, and meant to be.

It is written from the guarantees and shares no code with the services, so that a fault of theirs is not a fault of its
own. Wallets and transfers are called by names; times are whole seconds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

BALANCE_LIMIT = 9_007_199_254_740_991
"""No wallet holds more than this."""

WORLD_LIMIT = 9 * 10**18
"""No world goes beyond this in either direction."""


class Request(NamedTuple):
    """What a transfer is held to: the same id with anything else is a conflict."""

    source: str
    destination: str
    amount: int
    currency: str


class Transfer(NamedTuple):
    """A request under an id, to be posted at `expires` at the latest."""

    id: str
    request: Request
    expires: int


class Outcome(NamedTuple):
    """What became of an id, for ever."""

    id: str
    request: Request
    outcome: str
    reason: str | None
    at: int


class Line(NamedTuple):
    """One line of one wallet's statement."""

    wallet: str
    number: int
    id: str
    currency: str
    amount: int
    balance: int
    at: int


class Answer(NamedTuple):
    """What somebody who asked is told."""

    outcome: str
    reason: str | None
    at: int | None


@dataclass
class NaiveLedger:
    """Everything there is to know, and one transfer at a time."""

    now: int = 0
    balances: dict[str, int] = field(default_factory=dict)
    currencies: dict[str, str] = field(default_factory=dict)
    worlds: set[str] = field(default_factory=set)
    frozen: set[str] = field(default_factory=set)
    outcomes: list[Outcome] = field(default_factory=list)
    lines: list[Line] = field(default_factory=list)

    def open(self, wallet: str, currency: str, *, world: bool = False) -> None:
        """A new wallet with nothing in it; a world is where money comes from, and may owe."""
        self.balances[wallet] = 0
        self.currencies[wallet] = currency
        if world:
            self.worlds.add(wallet)

    def post(self, batch: Sequence[Transfer]) -> list[Answer]:
        """Each transfer in its turn, all of them at one moment: now, but not before any line of the wallets they name."""
        named = {wallet for transfer in batch for wallet in transfer.request[:2]}
        at = max([self.now, *(line.at for line in self.lines if line.wallet in named)])
        return [self._post(transfer, at) for transfer in batch]

    def void(self, transfer_id: str, request: Request, reason: str) -> Answer:
        """Nobody will carry this out any more, unless somebody has."""
        if self.outcome(transfer_id) is None:
            self.outcomes.append(Outcome(transfer_id, request, "voided", reason, self.now))
        return self._tell(transfer_id, request)

    def freeze(self, wallet: str) -> None:
        """Neither debit nor credit from now on."""
        self.frozen.add(wallet)

    def unfreeze(self, wallet: str) -> None:
        """Open again."""
        self.frozen.discard(wallet)

    def outcome(self, transfer_id: str) -> Outcome | None:
        """What became of it, if anything yet."""
        return next((outcome for outcome in self.outcomes if outcome.id == transfer_id), None)

    def lines_of(self, wallet: str) -> list[Line]:
        """The statement of one wallet, oldest first."""
        return [line for line in self.lines if line.wallet == wallet]

    def _post(self, transfer: Transfer, at: int) -> Answer:
        if self.outcome(transfer.id) is None:
            outcome, reason = self._judge(transfer, at)
            self.outcomes.append(Outcome(transfer.id, transfer.request, outcome, reason, at))
            if outcome == "posted":
                self._write(transfer.request.source, transfer, -transfer.request.amount, at)
                self._write(transfer.request.destination, transfer, transfer.request.amount, at)
        return self._tell(transfer.id, transfer.request)

    def _judge(self, transfer: Transfer, at: int) -> tuple[str, str | None]:
        source, destination, amount, currency = transfer.request
        if at > transfer.expires:
            return "voided", "timed_out"
        if source not in self.balances or destination not in self.balances:
            return "rejected", "wallet_not_found"
        if self.currencies[source] != currency or self.currencies[destination] != currency:
            return "rejected", "currency_mismatch"
        if source in self.frozen or destination in self.frozen:
            return "rejected", "wallet_frozen"
        if source not in self.worlds and self.balances[source] < amount:
            return "rejected", "insufficient_funds"
        limit = WORLD_LIMIT if destination in self.worlds else BALANCE_LIMIT
        fits = self.balances[destination] + amount <= limit and self.balances[source] - amount >= -WORLD_LIMIT
        return ("posted", None) if fits else ("rejected", "balance_limit")

    def _write(self, wallet: str, transfer: Transfer, amount: int, at: int) -> None:
        self.balances[wallet] += amount
        number = len(self.lines_of(wallet)) + 1
        currency, balance = transfer.request.currency, self.balances[wallet]
        self.lines.append(Line(wallet, number, transfer.id, currency, amount, balance, at))

    def _tell(self, transfer_id: str, request: Request) -> Answer:
        found = self.outcome(transfer_id)
        assert found is not None
        if found.request != request:
            return Answer("conflict", None, None)
        return Answer(found.outcome, found.reason, found.at)
