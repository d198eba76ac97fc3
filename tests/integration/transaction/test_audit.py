"""Actions of operators are audited in the commit of the action, permanently."""

from __future__ import annotations

import json
from typing import Any
from uuid import UUID

import asyncpg
import pytest

from services.contracts.identifiers import new_id
from services.contracts.refusal import Refusal
from services.transaction.commands import Accepted
from services.transaction.intake import Request
from tests.harness import ledgers
from tests.harness.databases import TestDatabase
from tests.harness.services import MoneyPath, accept, request


def deposit(operator: UUID, to_wallet: UUID, amount: int = 5, **changes: Any) -> Request:
    return request(operator, to_wallet, amount, kind="deposit", request_id="the-request-1", **changes)


async def test_deposit_is_audited(path: MoneyPath) -> None:
    """A deposit writes one entry with actor, user, subject and request, however often it is sent; a transfer writes none."""
    [(alice, alice_wallet), (_, bob_wallet)] = await path.users([100, 0])
    operator = new_id()
    one = deposit(operator, alice_wallet)
    intake = path.intake()
    [first] = await accept(intake, one)
    await accept(intake, one, request(alice, bob_wallet, 1))
    rows = await path.pool.fetch("SELECT * FROM audit_log")

    assert isinstance(first, Accepted)
    [row] = rows
    assert ("deposit_accepted", operator, alice) == (row["action"], row["actor_id"], row["user_id"])
    assert ("transfer", first.transfer.id, "the-request-1") == (
        row["subject_kind"], row["subject_id"], row["request_id"],
    )  # fmt: skip
    assert {"wallet_id": str(alice_wallet), "amount": 5, "currency": "USD"} == json.loads(row["detail"])


async def test_deposit_that_cannot_be_audited_is_refused(path: MoneyPath, transaction_database: TestDatabase) -> None:
    """While the log cannot be written there is no deposit, key or command; transfers go on. Later it is accepted once."""
    [(alice, alice_wallet), (_, bob_wallet)] = await path.users([100, 0])
    owner = await asyncpg.connect(transaction_database.owner_url)
    one = deposit(new_id(), alice_wallet)
    intake = path.intake()

    await owner.execute("REVOKE INSERT ON audit_log FROM payflow_transaction")
    refused, other = await accept(intake, one, request(alice, bob_wallet, 1))
    kept = await path.pool.fetchval("SELECT count(*) FROM idempotency_keys")
    deposits = await path.pool.fetchval("SELECT count(*) FROM transfers WHERE kind = 'deposit'")
    await owner.execute("GRANT INSERT ON audit_log TO payflow_transaction")
    [again] = await accept(intake, one)
    await owner.close()

    assert isinstance(refused, Refusal)
    assert isinstance(other, Accepted)
    assert (1, 0) == (kept, deposits)
    assert isinstance(again, Accepted)
    assert [again.transfer.id] == [row["subject_id"] for row in await path.pool.fetch("SELECT * FROM audit_log")]


async def test_failed_action_is_not_audited(path: MoneyPath, transaction_database: TestDatabase) -> None:
    """A deposit whose command cannot be written is refused and leaves no entry."""
    [(_, alice_wallet)] = await path.users([100])
    owner = await asyncpg.connect(transaction_database.owner_url)

    await owner.execute("REVOKE INSERT ON outbox FROM payflow_transaction")
    [refused] = await accept(path.intake(), deposit(new_id(), alice_wallet))
    await owner.close()

    assert isinstance(refused, Refusal)
    assert 0 == await path.pool.fetchval("SELECT count(*) FROM audit_log")
    assert 100 == await ledgers.balance(path.wallet_pool, alice_wallet)


@pytest.mark.parametrize("role", ["service", "owner", "superuser"])
async def test_audit_log_is_append_only(path: MoneyPath, transaction_database: TestDatabase, role: str) -> None:
    """UPDATE, DELETE and TRUNCATE of the audit log are refused to the service, to the owner, and to the superuser."""
    [(_, alice_wallet)] = await path.users([100])
    await accept(path.intake(), deposit(new_id(), alice_wallet))
    connection = await asyncpg.connect(getattr(transaction_database, f"{role}_url"))

    for statement in ("UPDATE audit_log SET action = 'x'", "DELETE FROM audit_log", "TRUNCATE audit_log"):
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await connection.execute(statement)
    await connection.close()

    assert 1 == await path.pool.fetchval("SELECT count(*) FROM audit_log")
