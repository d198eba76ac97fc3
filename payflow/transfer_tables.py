"""Tables of transfers and wallets."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime

from rich.text import Text

from payflow import console
from payflow.money import Currency
from payflow.search import FoundTransfer, SearchResult
from payflow.transfer import Transfer
from payflow.wallet import Wallet

OPERATOR = "operator"
"""Who has to act on a conflicted transfer."""


def print_found(found: SearchResult) -> None:
    """Print a row for each found transfer, newest first. A narrow terminal gets no users."""
    users = () if console.is_narrow() else ("sender", "recipient")
    table = console.table("accepted", "id", "status", ">amount (minor units)", *users, "waits for")
    for item in found.items:
        transfer = item.transfer
        ids = {"sender": item.user_id, "recipient": item.recipient_id or console.UNKNOWN}
        table.add_row(
            console.moment(transfer.created_at),
            console.plain(transfer.id),
            console.coloured(transfer.status),
            console.plain(f"{transfer.amount:,} {transfer.currency}"),
            *(console.plain(ids[name]) for name in users),
            console.plain(_waits_for(item)),
        )
    console.show(table)


def print_stuck(found: SearchResult) -> None:
    """Print a row for each late transfer, the oldest first, and how many wait for what. A narrow terminal gets no users."""
    users = () if console.is_narrow() else ("sender",)
    table = console.table(">age", "id", ">amount (minor units)", *users, "waits for", "final by")
    now = datetime.now(UTC)
    for item in found.items:
        transfer = item.transfer
        table.add_row(
            console.duration(max(0.0, (now - transfer.created_at).total_seconds())),
            console.plain(transfer.id),
            console.plain(f"{transfer.amount:,} {transfer.currency}"),
            *(console.plain(item.user_id) for _ in users),
            console.plain(_waits_for(item)),
            console.moment(transfer.final_by),
        )
    counts = Counter(map(_waits_for, found.items))
    console.show(table, console.facts([("waits for", _counts(counts))]))


def print_transfers(transfers: Iterable[Transfer], currencies: Mapping[str, Currency]) -> None:
    """Print a row for each transfer, newest first. A narrow terminal gets no wallets."""
    wallets = () if console.is_narrow() else ("from wallet", "to wallet")
    table = console.table("accepted", "id", "status", ">amount", *wallets, "description")
    for transfer in transfers:
        status = console.coloured(transfer.status)
        if transfer.failure is not None:
            status.append(f" {transfer.failure.code}")
        table.add_row(
            console.moment(transfer.created_at),
            console.plain(transfer.id),
            status,
            console.plain(amount(transfer.amount, transfer.currency, currencies)),
            *(console.plain(id_) for id_ in (transfer.from_wallet_id, transfer.to_wallet_id) if wallets),
            console.plain(transfer.description or ""),
        )
    console.show(table)


def print_wallets(wallets: Iterable[Wallet], currencies: Mapping[str, Currency]) -> None:
    """Print a row for each wallet."""
    table = console.table("id", ">balance", ">available", ">held", "status")
    for wallet in wallets:
        amounts = (wallet.balance, wallet.available, wallet.held)
        table.add_row(
            console.plain(wallet.id),
            *(console.plain(amount(each, wallet.currency, currencies)) for each in amounts),
            console.plain(wallet.status),
        )
    console.show(table)


def amount(minor: int, code: str, currencies: Mapping[str, Currency]) -> str:
    """An amount for users; in minor units, and saying so, if the currency is not known."""
    currency = currencies.get(code)
    return f"{minor:,} {code} (minor units)" if currency is None else currency.format(minor)


def _waits_for(item: FoundTransfer) -> str:
    return OPERATOR if item.conflicted else item.waiting_for or ""


def _counts(counts: Counter[str]) -> Text:
    return console.plain(", ".join(f"{name}: {count}" for name, count in counts.most_common()))
