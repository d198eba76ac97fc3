"""The demo users and their first money, created through the gateway; safe to repeat."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from deploy.local.errors import LocalError
from deploy.local.user import OUTCOME_SECONDS_MAX, User, http_session
from payflow import PayFlow, PayFlowError, canary

PASSWORD = "payflow-demo-1"  # noqa: S105 - public, printed at the start
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
"""Carol's other currencies, with two, no and three decimal digits."""

SIMULATE = "PayFlow-Simulate"


async def seed(gateway: str, grant: Callable[[str], Awaitable[None]], *, with_canary: bool = False) -> None:
    """Register the users, make one the operator, give Alice, Bob and Carol 1,000.00 USD each.

    Carol has a history, wallets in other currencies, and a payment of each outcome; Penny has only the little money that
    Carol sent her. Alice and Bob make no payments.

    Args:
        gateway: the address of the gateway.
        grant: makes the owner of an e-mail address an operator.
        with_canary: fund the canary, whose process must be ready.

    Raises:
        LocalError: a step was refused.
    """
    async with http_session() as session:
        users = {email: User(session, gateway, email, PASSWORD) for email in NAMES}
        await asyncio.gather(*(user.register(NAMES[email]) for email, user in users.items()))
        await grant(OPERATOR)
        await asyncio.gather(*(user.log_in() for user in users.values()))
        operator = users[OPERATOR]
        await asyncio.gather(
            *(
                _deposit(operator, users[email], currency=CURRENCY, amount=AMOUNT_MINOR)
                for email in (ALICE, BOB, CAROL)
            ),
            *(
                _deposit(operator, users[CAROL], currency=currency, amount=amount)
                for currency, amount in FURTHER_MINOR.items()
            ),
        )
        await _pay(users[CAROL], users[PENNY])
    if with_canary:
        await _fund_canary(gateway)


async def _fund_canary(gateway: str) -> None:
    try:
        async with PayFlow(gateway, email=OPERATOR, password=PASSWORD) as payflow:
            await canary.fund(payflow, wait_seconds=OUTCOME_SECONDS_MAX)
    except PayFlowError as error:
        raise LocalError(f"the canary was not funded: {error}") from error


async def _pay(carol: User, penny: User) -> None:
    """Make Carol's payments, one of each outcome that is fast."""
    paid = await _send(carol, penny, 150, why="Coffee")
    cancelled = await _send(carol, penny, 2_000, why="Changed my mind", **{SIMULATE: "slow-pending=2"})
    # On a very busy machine it may be completed by now, which is fine too.
    with contextlib.suppress(LocalError):
        await carol.post(f"/transfers/{cancelled['id']}/cancel", {})
    # Last, because the gateway refuses her other payments while this amount is PENDING.
    await _send(carol, penny, 1_000_000, why="A house", **{SIMULATE: "insufficient-funds"})
    if (await carol.outcome(paid))["status"] != "COMPLETED":
        raise LocalError(f"the payment of {carol.email} failed")


async def _send(sender: User, receiver: User, amount: int, *, why: str, **headers: str) -> dict[str, Any]:
    key = f"demo-seed-{sender.email}-{why.replace(' ', '-')}"
    body = {"amount": amount, "currency": CURRENCY, "to": {"email": receiver.email}, "description": why}
    sent = await sender.post("/transfers", body, **{"Idempotency-Key": key, **headers})
    # A replay returns the first response.
    current: dict[str, Any] = await sender.get(f"/transfers/{sent['id']}")
    return current


async def _deposit(operator: User, owner: User, *, currency: str, amount: int) -> None:
    wallet = await _wallet(owner, currency)
    key = f"demo-seed-{owner.email}" + ("" if currency == CURRENCY else f"-{currency}")
    transfer = await operator.post(
        "/ops/deposits",
        {"wallet_id": wallet["id"], "amount": amount, "currency": currency, "reference": "demo seed"},
        **{"Idempotency-Key": key},
    )
    transfer = await operator.outcome(transfer)
    if transfer["status"] != "COMPLETED":
        raise LocalError(f"the deposit for {owner.email} failed: {transfer['failure']}")


async def _wallet(owner: User, currency: str) -> Mapping[str, Any]:
    if currency == CURRENCY:
        return await owner.wallet(currency)
    opened: dict[str, Any] = await owner.post("/wallets", {"currency": currency})
    return opened
