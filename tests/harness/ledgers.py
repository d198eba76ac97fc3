"""Funded accounts and postings between them, for tests of the wallet."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from random import Random
from uuid import UUID

from services.chassis.database import Pool
from services.contracts.identifiers import new_id
from services.wallet import commands
from services.wallet.ledger import Posting


def posting(
    source: UUID,
    destination: UUID,
    amount: int,
    *,
    transfer_id: UUID | None = None,
    currency: str = "USD",
    seconds: float = 60,
) -> Posting:
    """A posting that expires in a minute, hashed over accounts, amount and currency."""
    text = f"{source}{destination}{amount}{currency}"
    return Posting(
        transfer_id or new_id(),
        source,
        destination,
        amount,
        currency,
        datetime.now(UTC) + timedelta(seconds=seconds),
        None,
        sha256(text.encode()).digest(),
    )


def random_posting(rng: Random, wallets: Sequence[UUID], amount_max: int) -> Posting:
    """A posting of up to so much between two of the wallets."""
    source, destination = rng.sample(wallets, 2)
    return posting(source, destination, rng.randint(1, amount_max))


async def post(pool: Pool, *postings: Posting) -> list[str]:
    """Post a batch; return the outcomes, with the reason after a colon if there is one."""
    responses = await commands.post_transfers(pool, postings, deadline=float("inf"))
    return [f"{response.outcome}:{response.reason}" if response.reason else response.outcome for response in responses]


async def fund(pool: Pool, amounts: Sequence[int], *, currency: str = "USD") -> list[UUID]:
    """Open one wallet per amount and fund it from an external account, by transfers."""
    [(external, _, _)] = await commands.find_accounts(pool, ids=[], owners=[], external=[currency])
    wallets = [(await commands.open_wallet(pool, owner_id=new_id(), currency=currency))[0].id for _ in amounts]
    deposits = [
        posting(external, wallet, amount, currency=currency)
        for wallet, amount in zip(wallets, amounts, strict=True)
        if amount
    ]
    if deposits:
        assert set(await post(pool, *deposits)) == {"posted"}
    return wallets


async def balance(pool: Pool, wallet: UUID) -> int:
    """The posted balance in minor units."""
    return (await commands.get_balance(pool, wallet, None))[0]
