"""What a restore discards: commands of lost transfers, cached responses, access granted in the lost time, feed positions."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import replace

import asyncpg
import pytest
from redis.asyncio import Redis as RedisClient

from deploy.backup import reset
from deploy.backup.reset import SEQ_GAP, Addresses
from deploy.local.engines import Postgres, RabbitMQ, Redis
from deploy.programs import DeployError
from services.auth import store
from services.chassis import database
from services.contracts.identifiers import new_id
from services.transaction.commands import Accepted
from tests.harness import feeds, services
from tests.harness.databases import Templates
from tests.harness.four_databases import INSERT_USER, FourDatabases
from tests.harness.services import MoneyPath, request


@pytest.fixture
async def addresses(four: FourDatabases, rabbitmq: RabbitMQ, redis: Redis) -> Addresses:
    """The engines of one deployment."""
    return Addresses(four.urls, management=rabbitmq.management_url, redis=redis.url)


@pytest.fixture
def roles_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    """The pools of this test are connected as the roles are; other tests share the server."""
    monkeypatch.setattr(reset, "SESSIONS", reset.SESSIONS.replace("WHERE", "WHERE false AND"))


@pytest.fixture
async def path(four: FourDatabases, rabbitmq: RabbitMQ) -> AsyncIterator[MoneyPath]:
    """The money path on these databases."""
    async with AsyncExitStack() as stack:
        yield await services.open_money_path(stack, four.databases["wallet"], four.databases["transaction"], rabbitmq)


async def published(path: MoneyPath) -> None:
    """Wait until every command is in the broker."""
    while await path.pool.fetchval("SELECT count(*) FROM outbox WHERE published_at IS NULL"):
        pass


@pytest.mark.usefixtures("roles_stopped")
async def test_command_of_a_lost_transfer_moves_no_money(
    path: MoneyPath, addresses: Addresses, templates: Templates
) -> None:
    """Guarantee 66: a transfer that a restore removed is accepted again by its key and paid once, though its command was sent."""
    [(alice, _), (_, to_wallet)] = await path.users([1000, 0])
    payment = request(alice, to_wallet, 10, key="payment-1")
    [accepted] = await path.intake().accept([payment])
    assert isinstance(accepted, Accepted)
    path.start_relay()
    await published(path)
    await path.stop("relay")

    restored = await templates.fresh("transaction")
    pool = await restored.pool()
    after = replace(path, pool=pool, tasks={}, runtimes={})
    await reset.reset(addresses, lambda _line: None)
    after.start_relay()
    after.start_worker()
    [again] = await after.intake().accept([payment])
    assert isinstance(again, Accepted)
    await after.finalized([again.transfer.id])
    await after.stop_all()
    await database.close_pool(pool)
    await templates.drop(restored)

    assert again.transfer.id != accepted.transfer.id
    outcomes = await path.wallet_pool.fetch("SELECT transfer_id FROM outcomes WHERE destination_id = $1", to_wallet)
    assert [again.transfer.id] == [row["transfer_id"] for row in outcomes]


@pytest.mark.usefixtures("roles_stopped")
async def test_access_granted_before_ends(four: FourDatabases, addresses: Addresses) -> None:
    """Sessions end under new revocation numbers, signing keys retire, links in e-mails are void; a second reset ends nothing."""
    auth = await four.databases["auth"].pool()
    user_id, sessions = new_id(), [new_id(), new_id(), new_id()]
    await four.execute("auth", INSERT_USER, user_id, "alice@example.com")
    async with database.transaction(auth) as connection:
        for session_id in sessions:
            await store.sessions.insert_session(connection, session_id, user_id, user_agent=None)
        number = await store.sessions.advance_revocations(connection, 1)
        await store.sessions.revoke_sessions(connection, sessions[:1], [number], reason="logout")
    await four.execute("auth", "INSERT INTO signing_keys VALUES ('kid', sha256('a'), 'sealed')")
    await four.execute(
        "auth",
        "INSERT INTO emails (id, user_id, kind, token_hash, token_sealed, expires_at) "
        "VALUES ($1, $2, 'reset_password', sha256('a'), 'sealed', now() + interval '1 hour')",
        new_id(),
        user_id,
    )
    lines: list[str] = []

    await reset.reset(addresses, lines.append)
    await reset.reset(addresses, lines.append)

    assert [line for line in lines if line.startswith("auth")] == [
        "auth: 2 sessions ended, 1 signing keys retired, 1 links in e-mails withdrawn",
        "auth: 0 sessions ended, 0 signing keys retired, 0 links in e-mails withdrawn",
    ]
    rows = await auth.fetch("SELECT id, seq FROM sessions WHERE revoked_at IS NOT NULL ORDER BY seq")
    assert [(id_, seq) for seq, id_ in enumerate(sessions, start=1)] == [tuple(row) for row in rows]
    assert await auth.fetchval("SELECT last FROM revocation_counter") == len(sessions)
    await database.close_pool(auth)


@pytest.mark.usefixtures("roles_stopped")
async def test_cached_responses_and_feed_positions_are_discarded(
    four: FourDatabases, addresses: Addresses, redis: Redis
) -> None:
    """Redis is empty, and every user's feed continues beyond any position of the lost time; its lines stay."""
    alice, bob = await four.user(), await four.user()
    await four.finalize(await four.accept(await four.external(), alice, 100))
    client = RedisClient.from_url(redis.url)
    await client.set("payflow:response:test", "a response")

    await reset.reset(addresses, lambda _line: None)

    assert await client.dbsize() == 0
    await client.aclose()
    rows = await four.notification.fetch("SELECT user_id, last_seq FROM event_counters")
    counters = {row["user_id"]: row["last_seq"] for row in rows}
    events = await four.notification.fetchval(f"SELECT count(*) FROM {feeds.LINES} WHERE user_id = $1", alice.owner_id)
    assert counters[alice.owner_id] == SEQ_GAP + events
    assert counters[bob.owner_id] == SEQ_GAP


async def test_nothing_is_discarded_while_a_role_runs(four: FourDatabases, addresses: Addresses) -> None:
    """A connected role stops the reset with its name: the role could act on what it has in memory."""
    await four.transaction.fetchval("SELECT 1")

    with pytest.raises(DeployError, match=r"stop every role first; connected to the server: .*payflow_transaction"):
        await reset.reset(addresses, lambda _line: None)


async def test_monitoring_stops_no_reset(four: FourDatabases, postgres: Postgres) -> None:
    """A login that changes nothing may stay connected."""
    connection = await asyncpg.connect(postgres.dsn("postgres", "payflow_monitor"))

    await reset._refuse_running_roles(four.urls)

    await connection.close()


async def test_an_unreachable_engine_is_one_line(four: FourDatabases) -> None:
    """Without the broker's management API the reset fails with one line."""
    with pytest.raises(DeployError, match="the broker's queues were not deleted: "):
        await reset.empty_broker("http://payflow:secret@127.0.0.1:9")
