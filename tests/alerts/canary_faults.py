"""Faults of the canary's money: it has none, or too much."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from deploy.local import seed
from deploy.local.home import Home
from deploy.local.roles import CANARY
from deploy.secrets.store import Secrets
from payflow import PayFlow, canary
from services.contracts.probes import password
from tests.alerts.rig import Rig

WAIT_SECONDS = 60.0
EXCESS = 1
REFERENCE = "make alerts-prove"


async def fund(rig: Rig) -> None:
    """Put the money in, as soon as the canary has its accounts."""
    await rig.system.stack.ready(CANARY.name)
    async with _operator(rig) as operator:
        await canary.fund(operator, wait_seconds=WAIT_SECONDS)


@asynccontextmanager
async def unfunded(rig: Rig) -> AsyncIterator[None]:
    """The canary as it is at its first start; afterwards it is funded."""
    await rig.system.stack.ready(CANARY.name)
    try:
        yield
    finally:
        await fund(rig)


@asynccontextmanager
async def money_wrong(rig: Rig) -> AsyncIterator[None]:
    """An operator sends the canary one minor unit too much; afterwards it is sent back."""
    gateway, secret = (
        rig.system.stack["gateway"],
        Secrets(Home(rig.system.stack.home).secrets).password("canary_secret"),
    )
    email = canary.EMAILS[0]
    async with _operator(rig) as operator:
        wallet = await operator.open_wallet(canary.CURRENCY)
        await operator.operator.deposit(
            wallet_id=wallet.id,
            amount=EXCESS,
            currency=canary.CURRENCY,
            reference=REFERENCE,
            wait_seconds=WAIT_SECONDS,
        )
        await operator.send(amount=EXCESS, currency=canary.CURRENCY, to_email=email, wait_seconds=WAIT_SECONDS)
    try:
        yield
    finally:
        async with PayFlow(gateway, email=email, password=password(secret, email)) as account:
            await account.send(
                amount=EXCESS, currency=canary.CURRENCY, to_wallet_id=wallet.id, wait_seconds=WAIT_SECONDS
            )


def _operator(rig: Rig) -> PayFlow:
    return PayFlow(rig.system.stack["gateway"], email=seed.OPERATOR, password=seed.PASSWORD)
