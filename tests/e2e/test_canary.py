"""The canary, in this process, against a whole stack that runs without one."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import aiohttp
import pytest
from prometheus_client import REGISTRY

from deploy.local import seed
from deploy.secrets.store import Secrets
from payflow import PayFlow, canary
from payflow.errors import Problem
from payflow.transfer import Transfer
from services.canary.accounts import open_accounts
from services.canary.circle import Attempt, Circle
from tests.harness.stack import Stack

WAIT_SECONDS = 60.0


def value(name: str, **labels: str) -> float:
    found = REGISTRY.get_sample_value(f"payflow_{name}", labels)
    return 0.0 if found is None else found


def transfers(result: str) -> float:
    return value("canary_transfers_total", result=result)


def last_success() -> float:
    return value("job_last_success_timestamp_seconds", job="canary")


def secret(stack: Stack) -> str:
    return Secrets(stack.home / "secrets.json").password("canary_secret")


async def fund(stack: Stack) -> Transfer | None:
    async with PayFlow(stack["gateway"], email=seed.OPERATOR, password=seed.PASSWORD) as operator:
        return await canary.fund(operator, wait_seconds=WAIT_SECONDS)


@pytest.fixture
async def circle(stack: Stack) -> AsyncIterator[Circle]:
    """The circle with its money, whichever test is the first."""
    async with AsyncExitStack() as clients:
        accounts = await open_accounts(stack["gateway"], secret(stack), clients)
        circle = Circle(accounts)
        if not await accounts[0].payflow.wallets() or sum(await circle.balances()) == 0:
            before = transfers("completed")
            await circle.run_once()
            assert (0.0, before) == (value("canary_funded"), transfers("completed")), "no money, no transfer"
            await fund(stack)
        yield circle


async def test_the_money_circles(stack: Stack, circle: Circle) -> None:
    """Each pass is one completed transfer; the sum stays exact, and funding again adds nothing."""
    before, succeeded = transfers("completed"), last_success()

    await circle.run_once()
    await circle.run_once()

    assert (before + 2, 0.0, 1.0) == (
        transfers("completed"),
        value("canary_difference_minor_units"),
        value("canary_funded"),
    )
    assert last_success() > succeeded
    assert await fund(stack) is None
    assert canary.FUND == sum(await circle.balances())


async def test_reports_show_it_apart_from_money(stack: Stack, circle: Circle) -> None:
    """Its row of the balance sheet is marked, money moved does not count it, and no e-mail is queued for it."""
    await circle.run_once()

    async with PayFlow(stack["gateway"], email=seed.OPERATOR, password=seed.PASSWORD) as operator:
        own = await operator.open_wallet(canary.CURRENCY)
        sheet = await operator.operator.balance_sheet()
    rows = {row.currency: row.customers for row in sheet.currencies}
    marked = {row["currency"] for row in sheet.document["currencies"] if row["test"]}
    async with aiohttp.ClientSession() as session, session.get(stack["metrics"]["transaction-worker-1"]) as response:
        page = await response.text()
    money = await stack.query(
        "wallet", "SELECT count(*) FROM accounts WHERE owner_id = ANY($1) AND posted <> 0 AND currency <> 'XTS'",
        [(await account.payflow.wallets())[0].owner_id for account in circle.accounts],
    )  # fmt: skip
    emails = await stack.query(
        "notification",
        "SELECT count(*) FROM deliveries JOIN notifications ON notifications.id = notification_id WHERE currency = 'XTS'",
    )
    to_them = await stack.query(
        "auth", "SELECT count(*) FROM emails JOIN users ON users.id = user_id WHERE users.email LIKE '%.invalid'"
    )
    assert canary.FUND + own.balance == rows[canary.CURRENCY]
    assert {canary.CURRENCY} == marked
    assert "payflow_transfers_total{" in page
    assert 'currency="XTS"' not in page
    assert [0, 0, 0] == [money[0][0], emails[0][0], to_them[0][0]]


async def test_its_addresses_cannot_be_registered(stack: Stack) -> None:
    """The public registration refuses the domain and names the field, unless the password is that of the canary."""
    async with PayFlow(stack["gateway"]) as client:
        for email in ("canary-a@payflow.invalid", "canary-c@payflow.invalid", "Mallory@sub.INVALID"):
            with pytest.raises(Problem) as refused:
                await client.register(email, "correct horse", "Mallory")
            assert ("invalid_request", ["email"]) == (
                refused.value.code,
                [error.field for error in refused.value.errors],
            )


async def test_an_unknown_transfer_is_sent_again_with_its_key(circle: Circle) -> None:
    """After a lost response the next pass uses the same key: it makes no second transfer."""
    first, second = circle.accounts
    attempt = Attempt("canary-lost", first, second)
    sent = await attempt.send()
    circle.unknown = attempt
    before = await first.balance()

    await circle.run_once()

    assert (await attempt.send()).id == sent.id
    assert before == await first.balance()
    assert circle.unknown is None


async def test_a_wrong_sum_is_no_success(stack: Stack, circle: Circle) -> None:
    """One unit too much is reported at once, and the job does not succeed until it is gone."""
    first, _ = circle.accounts
    await circle.run_once()
    succeeded, completed = last_success(), transfers("completed")
    async with PayFlow(stack["gateway"], email=seed.OPERATOR, password=seed.PASSWORD) as operator:
        wallet = await operator.open_wallet(canary.CURRENCY)
        await operator.operator.deposit(
            wallet_id=wallet.id, amount=1, currency=canary.CURRENCY, reference="too much", wait_seconds=WAIT_SECONDS
        )
        await operator.send(amount=1, currency=canary.CURRENCY, to_wallet_id=first.wallet_id, wait_seconds=WAIT_SECONDS)
        await circle.run_once()
        assert (1.0, succeeded, completed) == (
            value("canary_difference_minor_units"),
            last_success(),
            transfers("completed"),
        )
        await first.payflow.send(amount=1, currency=canary.CURRENCY, to_wallet_id=wallet.id, wait_seconds=WAIT_SECONDS)
    await circle.run_once()
    assert 0.0 == value("canary_difference_minor_units")
    assert last_success() > succeeded


async def test_an_error_is_counted(circle: Circle, monkeypatch: pytest.MonkeyPatch) -> None:
    """A gateway that is unreachable ends the pass, not the canary."""
    before = transfers("error")
    monkeypatch.setattr(circle.accounts[0].payflow._transport, "gateway", "http://127.0.0.1:9")

    await circle.run_once()

    assert before + 1 == transfers("error")
