"""The demo people and their first money, through the gateway like everybody's; doing it twice is doing it once."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from deploy.local.person import Person, client
from deploy.local.trouble import Trouble

PASSWORD = "payflow-demo-1"  # noqa: S105 - printed for everybody to use
ALICE, BOB, OPERATOR = "alice@example.com", "bob@example.com", "ops@example.com"
NAMES = {ALICE: "Alice Example", BOB: "Bob Example", OPERATOR: "Olivia Operator"}
CURRENCY = "USD"
AMOUNT_MINOR = 100_000


async def seed(gateway: str, grant: Callable[[str], Awaitable[None]]) -> None:
    """Register the three people, make one the operator, give the other two 1,000.00 USD each.

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
        await asyncio.gather(*(_deposit(operator, people[email]) for email in (ALICE, BOB)))


async def _deposit(operator: Person, owner: Person) -> None:
    wallet = await owner.wallet(CURRENCY)
    transfer = await operator.post(
        "/ops/deposits",
        {"wallet_id": wallet["id"], "amount": AMOUNT_MINOR, "currency": CURRENCY, "reference": "demo seed"},
        **{"Idempotency-Key": f"demo-seed-{owner.email}"},
    )
    transfer = await operator.outcome(transfer)
    if transfer["status"] != "COMPLETED":
        raise Trouble(f"the deposit for {owner.email} failed: {transfer['failure']}")
