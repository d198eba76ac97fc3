"""The comparison of the databases: what it accepts, and every kind of mismatch."""

from __future__ import annotations

import json
from uuid import UUID

import asyncpg
import pytest

from deploy.backup import __main__ as backup
from deploy.backup import databases
from deploy.backup.findings import Kind
from services.contracts.identifiers import new_id
from tests.harness.databases import Templates
from tests.harness.four_databases import FourDatabases, dump

FUNDS = 1000


async def kinds(four: FourDatabases) -> dict[Kind, set[UUID]]:
    """The ids of the findings by kind."""
    found: dict[Kind, set[UUID]] = {}
    for finding in await four.findings():
        found.setdefault(finding.kind, set()).add(finding.id)
    return found


async def test_databases_of_a_healthy_system_agree(four: FourDatabases) -> None:
    """Transfers in every state are no finding: PENDING with and without an outcome, COMPLETED, FAILED, not yet notified."""
    alice, bob = await four.user(), await four.user()
    await four.finalize(await four.accept(await four.external(), alice, FUNDS))
    await four.finalize(await four.accept(alice, bob, 10), await four.accept(bob, alice, FUNDS))
    await four.advance()
    await four.finalize(await four.accept(alice, bob, 20), notified=False)
    await four.post(await four.accept(alice, bob, 30), await four.accept(bob, alice, FUNDS))
    await four.accept(alice, bob, 40)

    assert {} == await kinds(four)


async def test_every_kind_of_mismatch_is_found(four: FourDatabases) -> None:
    """Each altered row is found under its kind, and nothing else."""
    alice, bob = await four.user(), await four.user()
    await four.finalize(await four.accept(await four.external(), alice, FUNDS))
    completed = [await four.accept(alice, bob, 1) for _ in range(10)]
    failed = [await four.accept(bob, alice, FUNDS) for _ in range(3)]
    pending, lost = await four.accept(alice, bob, 1), await four.accept(alice, bob, 1)
    await four.finalize(*completed, *failed)
    await four.post(lost)
    await four.advance()
    unknown, carol = new_id(), await four.user()
    expected: dict[Kind, set[UUID]] = {kind: set() for kind in Kind}

    async def plant(kind: Kind, database: str, statement: str, id_: UUID, *more: object) -> None:
        await four.execute(database, statement, id_, *more)
        expected[kind].add(id_)

    await plant(Kind.COMPLETED_WITHOUT_OUTCOME, "wallet", "DELETE FROM outcomes WHERE transfer_id = $1", completed[0])
    await plant(
        Kind.COMPLETED_NOT_POSTED,
        "wallet",
        "UPDATE outcomes SET outcome = 'voided', reason = 'timed_out', source_seq = NULL, destination_seq = NULL "
        "WHERE transfer_id = $1",
        completed[1],
    )
    await plant(Kind.FAILED_WITHOUT_OUTCOME, "wallet", "DELETE FROM outcomes WHERE transfer_id = $1", failed[0])
    await plant(
        Kind.FAILED_BUT_POSTED,
        "transaction",
        "UPDATE transfers SET status = 'FAILED', failed_at = completed_at, completed_at = NULL, "
        "failure_code = 'timed_out' WHERE id = $1",
        completed[2],
    )
    expected[Kind.EVENT_DIFFERS].add(completed[2])
    await plant(
        Kind.FAILURE_DIFFERS, "transaction", "UPDATE transfers SET failure_code = 'cancelled' WHERE id = $1", failed[1]
    )
    await plant(Kind.OUTCOME_WITHOUT_TRANSFER, "transaction", "DELETE FROM transfers WHERE id = $1", lost)
    expected[Kind.KEY_WITHOUT_TRANSFER].add(lost)
    await plant(Kind.REQUEST_DIFFERS, "transaction", "UPDATE transfers SET amount = 7 WHERE id = $1", completed[3])
    await plant(
        Kind.REQUEST_DIFFERS, "transaction", "UPDATE transfers SET request_hash = 'other' WHERE id = $1", completed[4]
    )
    await plant(
        Kind.TRANSFER_WITHOUT_KEY, "transaction", "DELETE FROM idempotency_keys WHERE resource_id = $1", completed[5]
    )
    await plant(
        Kind.KEY_DIFFERS, "transaction", "UPDATE idempotency_keys SET user_id = $2 WHERE resource_id = $1",
        completed[6], carol.owner_id,
    )  # fmt: skip
    await plant(
        Kind.KEY_DIFFERS,
        "transaction",
        "INSERT INTO idempotency_keys (user_id, key, request_hash, hash_version, resource_id) "
        "SELECT user_id, 'second', request_hash, hash_version, resource_id FROM idempotency_keys WHERE resource_id = $1",
        completed[7],
    )
    await plant(
        Kind.EVENT_WITHOUT_TRANSFER,
        "notification",
        "INSERT INTO inbox (transfer_id, type) VALUES ($1, 'transfer.completed')",
        unknown,
    )
    await plant(
        Kind.EVENT_DIFFERS,
        "notification",
        "INSERT INTO inbox (transfer_id, type) VALUES ($1, 'transfer.failed')",
        completed[8],
    )
    await plant(
        Kind.EVENT_DIFFERS,
        "notification",
        "INSERT INTO inbox (transfer_id, type) VALUES ($1, 'transfer.completed')",
        pending,
    )
    await plant(
        Kind.EVENT_MISSING,
        "notification",
        "DELETE FROM notifications WHERE transfer_id = $1",
        completed[9],
    )
    await plant(Kind.WALLET_WITHOUT_ACCOUNT, "wallet", "DELETE FROM accounts WHERE id = $1", carol.id)
    assert bob.owner_id is not None
    await plant(Kind.ACCOUNT_WITHOUT_USER, "auth", "DELETE FROM users WHERE id = $1", bob.owner_id)

    assert all(expected.values())
    assert expected == await kinds(four)


async def test_expired_events_are_not_missing(four: FourDatabases) -> None:
    """Outcomes from before the position of the retention need no event; later ones do."""
    external, alice = await four.external(), await four.user()
    old, new = [await four.accept(external, alice, 100) for _ in range(2)]
    await four.finalize(old, new)
    await four.advance()
    await four.execute("notification", "DELETE FROM notifications")
    await four.execute(
        "transaction", "UPDATE transfers SET completed_at = now() - interval '9 days' WHERE id = $1", old
    )
    expired = "INSERT INTO positions SELECT 'notifications.expired', now() - interval '1 day', gen_random_uuid()"
    await four.execute("notification", expired)

    assert {(Kind.EVENT_MISSING, new)} == {(finding.kind, finding.id) for finding in await four.findings()}


async def test_an_older_wallet_dump_is_no_backup(four: FourDatabases, templates: Templates) -> None:
    """With a wallet dump older than the transaction database, COMPLETED transfers have no outcome: their money is back."""
    alice, bob = await four.user(), await four.user()
    await four.finalize(await four.accept(await four.external(), alice, FUNDS))
    older = await templates.fresh("wallet")
    await dump(four.databases["wallet"], older)
    paid = await four.accept(alice, bob, 10)
    await four.finalize(paid)

    assert {} == await kinds(four)
    assert {Kind.COMPLETED_WITHOUT_OUTCOME: {paid}} == await kinds(four.with_older("wallet", older))
    await templates.drop(older)


async def test_an_older_transaction_dump_lets_a_retry_pay_twice(four: FourDatabases, templates: Templates) -> None:
    """With a transaction dump older than the wallet database, outcomes have no transfer, and a retry pays a second time."""
    alice, bob = await four.user(), await four.user()
    await four.finalize(await four.accept(await four.external(), alice, FUNDS), notified=False)
    older = await templates.fresh("transaction")
    await dump(four.databases["transaction"], older)
    paid = await four.accept(alice, bob, 10, key="payment-1")
    await four.finalize(paid, notified=False)
    restored = four.with_older("transaction", older)

    assert {Kind.OUTCOME_WITHOUT_TRANSFER: {paid}} == await kinds(restored)

    restored.transaction = await older.pool()
    await restored.finalize(await restored.accept(alice, bob, 10, key="payment-1"), notified=False)
    await restored.transaction.close()
    assert await four.balance(bob) == 20
    await templates.drop(older)


async def test_a_running_system_is_compared_without_false_findings(
    four: FourDatabases, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A transfer that is accepted, posted and notified between the snapshots of the databases is no finding."""
    alice, bob = await four.user(), await four.user()
    await four.finalize(await four.accept(await four.external(), alice, FUNDS))
    pending = await four.accept(alice, bob, 5)
    connect = databases.connect
    moved: list[UUID] = []

    async def connect_later(name: str, url: str) -> asyncpg.Connection:
        if name == "wallet" and not moved:
            moved.append(await four.accept(alice, bob, 10))
            await four.finalize(pending, *moved)
            await four.advance()
        return await connect(name, url)

    monkeypatch.setattr(databases, "connect", connect_later)

    assert {} == await kinds(four)
    assert moved


async def test_command_prints_one_line_per_finding(four: FourDatabases, capsys: pytest.CaptureFixture[str]) -> None:
    """The command names each finding, what it means and how much was compared; it exits with 3."""
    alice = await four.user()
    deposit = await four.accept(await four.external(), alice, FUNDS)
    await four.finalize(deposit)

    assert await backup._compare(four.urls, as_json=False) == 0
    assert "the databases agree" in capsys.readouterr().out

    await four.execute("wallet", "DELETE FROM outcomes")
    assert await backup._compare(four.urls, as_json=False) == backup.EXIT_FINDINGS
    first, *_, last = capsys.readouterr().out.splitlines()
    assert first == f"completed_without_outcome {deposit}: the transfer is COMPLETED and has no outcome"
    assert last == "the databases differ: accept no request"

    assert await backup._compare(four.urls, as_json=True) == backup.EXIT_FINDINGS
    records = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert records[0]["id"] == str(deposit)
    assert records[-1]["findings"] == {"completed_without_outcome": 1}
    assert records[-1]["compared"] == {"outcomes": 0, "events": 1, "accounts": 2, "transfers": 1, "keys": 1}
