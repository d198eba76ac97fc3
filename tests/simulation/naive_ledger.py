"""The simplest possible ledger: a dictionary of balances, a list of outcomes, a list of lines. Deliberately slow.

It is written from the guarantees and shares no code with the services, so that it does not share their faults. Wallets
and transfers have names; times are whole seconds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

BALANCE_LIMIT = 9_007_199_254_740_991
"""The maximum balance of a wallet."""

EXTERNAL_LIMIT = 9 * 10**18
"""The maximum balance of an external account, in either direction."""


class Request(NamedTuple):
    """The content that belongs to a transfer id: the same id with other content is a conflict."""

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
    """The final outcome of an id."""

    id: str
    request: Request
    outcome: str
    reason: str | None
    at: int


class Line(NamedTuple):
    """One line of a wallet's statement."""

    wallet: str
    number: int
    id: str
    currency: str
    amount: int
    balance: int
    at: int


class Result(NamedTuple):
    """The result returned to a caller."""

    outcome: str
    reason: str | None
    at: int | None


@dataclass
class NaiveLedger:
    """The whole state; transfers are processed one at a time."""

    now: int = 0
    balances: dict[str, int] = field(default_factory=dict)
    currencies: dict[str, str] = field(default_factory=dict)
    external: set[str] = field(default_factory=set)
    frozen: set[str] = field(default_factory=set)
    outcomes: list[Outcome] = field(default_factory=list)
    lines: list[Line] = field(default_factory=list)

    def open(self, wallet: str, currency: str, *, external: bool = False) -> None:
        """Open an empty wallet, or an external account, which may be negative."""
        self.balances[wallet] = 0
        self.currencies[wallet] = currency
        if external:
            self.external.add(wallet)

    def post(self, batch: Sequence[Transfer]) -> list[Result]:
        """Post the transfers in order, all at one time: now, but not before any line of the wallets involved."""
        named = {wallet for transfer in batch for wallet in transfer.request[:2]}
        at = max([self.now, *(line.at for line in self.lines if line.wallet in named)])
        return [self._post(transfer, at) for transfer in batch]

    def void(self, transfer_id: str, request: Request, reason: str) -> Result:
        """Void a transfer unless it has an outcome."""
        if self.outcome(transfer_id) is None:
            self.outcomes.append(Outcome(transfer_id, request, "voided", reason, self.now))
        return self._result(transfer_id, request)

    def freeze(self, wallet: str) -> None:
        """Reject debits and credits from now on."""
        self.frozen.add(wallet)

    def unfreeze(self, wallet: str) -> None:
        """Accept debits and credits again."""
        self.frozen.discard(wallet)

    def outcome(self, transfer_id: str) -> Outcome | None:
        """The outcome of a transfer, if it has one."""
        return next((outcome for outcome in self.outcomes if outcome.id == transfer_id), None)

    def lines_of(self, wallet: str) -> list[Line]:
        """The statement of one wallet, oldest first."""
        return [line for line in self.lines if line.wallet == wallet]

    def _post(self, transfer: Transfer, at: int) -> Result:
        if self.outcome(transfer.id) is None:
            outcome, reason = self._decide(transfer, at)
            self.outcomes.append(Outcome(transfer.id, transfer.request, outcome, reason, at))
            if outcome == "posted":
                self._write(transfer.request.source, transfer, -transfer.request.amount, at)
                self._write(transfer.request.destination, transfer, transfer.request.amount, at)
        return self._result(transfer.id, transfer.request)

    def _decide(self, transfer: Transfer, at: int) -> tuple[str, str | None]:
        source, destination, amount, currency = transfer.request
        if at > transfer.expires:
            return "voided", "timed_out"
        if source not in self.balances or destination not in self.balances:
            return "rejected", "wallet_not_found"
        if self.currencies[source] != currency or self.currencies[destination] != currency:
            return "rejected", "currency_mismatch"
        if source in self.frozen or destination in self.frozen:
            return "rejected", "wallet_frozen"
        if source not in self.external and self.balances[source] < amount:
            return "rejected", "insufficient_funds"
        limit = EXTERNAL_LIMIT if destination in self.external else BALANCE_LIMIT
        fits = self.balances[destination] + amount <= limit and self.balances[source] - amount >= -EXTERNAL_LIMIT
        return ("posted", None) if fits else ("rejected", "balance_limit")

    def _write(self, wallet: str, transfer: Transfer, amount: int, at: int) -> None:
        self.balances[wallet] += amount
        number = len(self.lines_of(wallet)) + 1
        currency, balance = transfer.request.currency, self.balances[wallet]
        self.lines.append(Line(wallet, number, transfer.id, currency, amount, balance, at))

    def _result(self, transfer_id: str, request: Request) -> Result:
        found = self.outcome(transfer_id)
        assert found is not None
        if found.request != request:
            return Result("conflict", None, None)
        return Result(found.outcome, found.reason, found.at)
