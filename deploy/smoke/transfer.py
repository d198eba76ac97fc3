"""The smoke run: two new users, a deposit, one transfer, and everything that must be true of it."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass

from deploy.smoke.record import Record, SmokeError, expect
from deploy.smoke.settings import CA_FILE, EMAIL, PASSWORD, Operator
from payflow.client import PayFlow
from payflow.errors import ApiKeyRefused, GatewayUnreachable, PayFlowError, Problem
from payflow.limits import Limits
from payflow.submission import new_key
from payflow.transfer import COMPLETED, Timeline, Transfer
from payflow.wallet import Wallet

CURRENCY = "USD"
DEPOSIT, AMOUNT = 3, 1
"""Cents. The smallest that leave both users with different balances, so that swapped ones are noticed."""

STEPS = ("accepted", "queued", "picked_up", "posted", "completed", "notified")
SECONDS_MAX = 60.0
TIMELINE_POLL_SECONDS = 0.1

LIMITS = Limits(attempts_max=5, retry_seconds=10.0)


@dataclass(slots=True)
class Users:
    """The clients of one run, and the wallets of the two users."""

    sender: PayFlow
    receiver: PayFlow
    operator: PayFlow
    receiver_email: str = ""
    source_id: str = ""
    target_id: str = ""


async def run(gateway: str, operator: Operator, *, seconds_max: float = SECONDS_MAX) -> Record:
    """Run all steps; the first that fails ends the run. The record says which."""
    record = Record(gateway)
    try:
        async with asyncio.timeout(seconds_max), AsyncExitStack() as clients:
            sender, receiver, funder = [await clients.enter_async_context(each) for each in _clients(gateway, operator)]
            users = Users(sender, receiver, funder)
            await _transfer_once(record, users, wait_seconds=seconds_max)
    except (SmokeError, PayFlowError) as error:
        record.fail(_line(error, operator))
    except TimeoutError:
        record.fail(f"not done {seconds_max:g} s after the start")
    return record


def _clients(gateway: str, operator: Operator) -> list[PayFlow]:
    return [
        PayFlow(gateway, limits=LIMITS),
        PayFlow(gateway, limits=LIMITS),
        PayFlow(gateway, api_key=operator.api_key, limits=LIMITS)
        if operator.api_key
        else PayFlow(gateway, email=operator.email, password=operator.password, limits=LIMITS),
    ]


async def _transfer_once(record: Record, users: Users, *, wait_seconds: float) -> None:
    # First, so that wrong credentials leave no users behind.
    with record.step("operator") as step:
        await users.operator.operator.overview()
        step.detail = users.operator.user.email if users.operator.user else "API key"
    with record.step("register two users") as step:
        step.detail = await _register(users)
    with record.step("deposit by the operator") as step:
        step.detail = await _deposit(users, wait_seconds)
    key = new_key()

    async def send() -> Transfer:
        return await users.sender.send(
            amount=AMOUNT,
            currency=CURRENCY,
            to_email=users.receiver_email,
            description="smoke test",
            idempotency_key=key,
            wait_seconds=wait_seconds,
        )

    with record.step("transfer") as step:
        transfer = await send()
        step.detail = transfer.id
        expect(transfer.status, COMPLETED, f"the transfer {transfer.id}")
    with record.step("same key again") as step:
        step.detail = await _replay(transfer, send)
    with record.step("balances") as step:
        step.detail = await _balances(users, transfer)
    with record.step("timeline") as step:
        step.detail = await _timeline(users.sender, transfer.id)
    with record.step("log out"):
        await asyncio.gather(users.sender.logout(), users.receiver.logout())


async def _register(users: Users) -> str:
    emails = [f"smoke-{secrets.token_hex(8)}@example.com" for _ in range(2)]
    for client, email in zip((users.sender, users.receiver), emails, strict=True):
        await client.register(email, secrets.token_urlsafe(24), "Smoke Test")
    users.receiver_email = emails[1]
    users.source_id = (await _wallet(users.sender)).id
    users.target_id = (await _wallet(users.receiver)).id
    return " and ".join(emails)


async def _deposit(users: Users, wait_seconds: float) -> str:
    deposit = await users.operator.operator.deposit(
        wallet_id=users.source_id,
        amount=DEPOSIT,
        currency=CURRENCY,
        reference="smoke test",
        wait_seconds=wait_seconds,
    )
    expect(deposit.status, COMPLETED, f"the deposit {deposit.id}")
    return f"{DEPOSIT} cents"


async def _replay(first: Transfer, send: Callable[[], Awaitable[Transfer]]) -> str:
    check_replay(first, await send())
    return "the same transfer"


async def _balances(users: Users, transfer: Transfer) -> str:
    source, target = await asyncio.gather(_wallet(users.sender), _wallet(users.receiver))
    check_side("sender", source, await _entries(users.sender, source, transfer), amount=-AMOUNT)
    check_side("receiver", target, await _entries(users.receiver, target, transfer), amount=AMOUNT)
    return f"{source.balance} and {target.balance} cents, one entry each"


async def _entries(client: PayFlow, wallet: Wallet, transfer: Transfer) -> list[int]:
    return [entry.amount async for entry in client.statement(wallet.id) if entry.transfer_id == transfer.id]


def check_side(side: str, wallet: Wallet, entries: list[int], *, amount: int) -> None:
    """Check one user's wallet after the transfer, and the entries of the transfer in its statement.

    Raises:
        SmokeError: the money did not move exactly once.
    """
    before = DEPOSIT if amount < 0 else 0
    expect(wallet.balance, before + amount, f"the {side}'s balance in cents")
    expect(wallet.available, before + amount, f"the {side}'s available amount in cents")
    expect(entries, [amount], f"the {side}'s list of entries of the transfer")


def check_replay(first: Transfer, second: Transfer) -> None:
    """Check the response to the same request with the same key.

    Raises:
        SmokeError: it is another transfer, or is not marked as a replay.
    """
    expect(second.id, first.id, "the transfer of the repeated request")
    expect(second.replayed, True, "Idempotent-Replayed of the repeated request")


async def _timeline(sender: PayFlow, transfer_id: str) -> str:
    """Wait for the notification, which comes after the outcome; the run's own time limit ends the wait."""
    while True:
        timeline = await sender.timeline(transfer_id)
        missing = find_missing(timeline)
        if not missing:
            return ", ".join(step.step for step in timeline.steps)
        if missing != ["notified"] and not timeline.unavailable:
            raise SmokeError(f"the timeline of {transfer_id} lacks {', '.join(missing)}")
        await asyncio.sleep(TIMELINE_POLL_SECONDS)


def find_missing(timeline: Timeline) -> list[str]:
    """The steps that a timeline lacks."""
    seen = {step.step for step in timeline.steps}
    return [step for step in STEPS if step not in seen]


async def _wallet(client: PayFlow) -> Wallet:
    for wallet in await client.wallets():
        if wallet.currency == CURRENCY:
            return wallet
    raise SmokeError(f"a new user has no wallet in {CURRENCY}")


def _line(error: SmokeError | PayFlowError, operator: Operator) -> str:
    """The error, and what to do about it."""
    text = str(error)
    who = operator.email or "the API key"
    if isinstance(error, GatewayUnreachable) and "certificate" in error.reason:
        return f"{text}; name the file of a private certificate authority in {CA_FILE}"
    if isinstance(error, ApiKeyRefused):
        return f"{text}; create one with `payflow api-keys create`"
    hints = {
        "invalid_credentials": f"check {EMAIL} and {PASSWORD}",
        "totp_required": f"{who} has a second factor: use an API key instead",
        "operator_required": f"{who} is no operator: run `python -m services.auth grant EMAIL operator` in the image",
        "insufficient_scope": "the API key needs the scope operate",
    }
    hint = hints.get(error.code) if isinstance(error, Problem) else None
    return f"{text}; {hint}" if hint else text
