"""The demo people and their first money, through the gateway like everybody's; doing it twice is doing it once."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from deploy.local.person import Person, client
from deploy.local.trouble import Trouble

PASSWORD = "payflow-demo-1"  # noqa: S105 - printed for everybody to use
ALICE, BOB, OPERATOR = "alice@example.com", "bob@example.com", "ops@example.com"
CAROL, PENNY = "carol@example.com", "penny@example.com"
NAMES = {
    ALICE: "Alice Example",
    BOB: "Bob Example",
    OPERATOR: "Olivia Operator",
    CAROL: "Carol Customer",
    PENNY: "Penny Less",
}
CURRENCY = "USD"
AMOUNT_MINOR = 100_000
FURTHER_MINOR = {"EUR": 25_000, "JPY": 30_000, "KWD": 100_000}
"""What Carol has beside US dollars: currencies with two, no and three decimal digits."""

SIMULATE = "PayFlow-Simulate"


async def seed(gateway: str, grant: Callable[[str], Awaitable[None]]) -> None:
    """Register the people, make one the operator, give Alice, Bob and Carol 1,000.00 USD each.

    Carol has a history, wallets in further currencies, and a payment of each outcome; Penny has nothing but the little that
    Carol sent her. Alice and Bob are left as they are.

    Args:
        gateway: where the gateway listens.
        grant: makes the owner of an e-mail address an operator.

    Raises:
        Trouble: a step was refused.
    """
    async with client() as session:
        people = {email: Person(session, gateway, email, PASSWORD) for email in NAMES}
        await asyncio.gather(*(person.register(NAMES[email]) for email, person in people.items()))
        await grant(OPERATOR)
        await asyncio.gather(*(person.log_in() for person in people.values()))
        operator = people[OPERATOR]
        await asyncio.gather(
            *(_deposit(operator, people[email], CURRENCY, AMOUNT_MINOR) for email in (ALICE, BOB, CAROL)),
            *(_deposit(operator, people[CAROL], currency, amount) for currency, amount in FURTHER_MINOR.items()),
        )
        await _live(people[CAROL], people[PENNY])


async def _live(carol: Person, penny: Person) -> None:
    """Payments of Carol's, one of each outcome that does not take long."""
    paid = await _send(carol, penny, 150, "Coffee")
    cancelled = await _send(carol, penny, 2_000, "Changed my mind", **{SIMULATE: "slow-pending=2"})
    # On a machine that is that busy it has been carried out by now: history enough.
    with contextlib.suppress(Trouble):
        await carol.post(f"/transfers/{cancelled['id']}/cancel", {})
    # The last one: while it is PENDING the gateway counts it, and refuses what else she sends.
    await _send(carol, penny, 1_000_000, "A house", **{SIMULATE: "insufficient-funds"})
    if (await carol.outcome(paid))["status"] != "COMPLETED":
        raise Trouble(f"the payment of {carol.email} failed")


async def _send(sender: Person, receiver: Person, amount: int, why: str, **headers: str) -> dict[str, Any]:
    key = f"demo-seed-{sender.email}-{why.replace(' ', '-')}"
    body = {"amount": amount, "currency": CURRENCY, "to": {"email": receiver.email}, "description": why}
    sent = await sender.post("/transfers", body, **{"Idempotency-Key": key, **headers})
    # A replay is the answer of the first time.
    current: dict[str, Any] = await sender.get(f"/transfers/{sent['id']}")
    return current


async def _deposit(operator: Person, owner: Person, currency: str, amount: int) -> None:
    wallet = await _wallet(owner, currency)
    key = f"demo-seed-{owner.email}" + ("" if currency == CURRENCY else f"-{currency}")
    transfer = await operator.post(
        "/ops/deposits",
        {"wallet_id": wallet["id"], "amount": amount, "currency": currency, "reference": "demo seed"},
        **{"Idempotency-Key": key},
    )
    transfer = await operator.outcome(transfer)
    if transfer["status"] != "COMPLETED":
        raise Trouble(f"the deposit for {owner.email} failed: {transfer['failure']}")


async def _wallet(owner: Person, currency: str) -> Mapping[str, Any]:
    if currency == CURRENCY:
        return await owner.wallet(currency)
    opened: dict[str, Any] = await owner.post("/wallets", {"currency": currency})
    return opened
