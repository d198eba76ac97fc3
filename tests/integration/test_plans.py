"""Lists read no more than their page: by index, for every combination of filters, whatever the table contains.

Each table is filled so that the matching rows are a few old ones behind very many that do not match. Plans are made with and
without statistics, generic and custom, with the settings of the service.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Sequence
from datetime import UTC, datetime, timedelta
from itertools import product
from typing import NamedTuple
from uuid import UUID

import asyncpg
import pytest

from services.auth.app import READ_SETTINGS as AUTH_SETTINGS
from services.chassis import audit, database, dead_letters
from services.notification.store import PLANNER as NOTIFICATION_PLANNER
from services.notification.store import statements as notification_statements
from services.transaction import store
from services.transaction.app import READ_SETTINGS
from services.transaction.store import NEWEST, Filter, Position
from services.wallet import store_audit as wallet_audit
from services.wallet.app import PLANNER as WALLET_PLANNER
from tests.harness import plans
from tests.harness.databases import Templates, TestDatabase

MANY = 30_000
FEW = 2
LIMIT = 11
START = datetime(2026, 1, 1, tzinfo=UTC)


def some(number: int) -> UUID:
    """A known id."""
    return UUID(int=0x1000 + number)


HEAVY, QUIET, OPERATOR, MERCHANT = (some(n) for n in range(4))
HEAVY_USD, HEAVY_EUR, QUIET_USD, MERCHANT_USD, WORLD_USD, WORLD_EUR, OPERATOR_USD = (some(n) for n in range(16, 23))


class Group(NamedTuple):
    """A number of similar transfers, one per second. Without an id of its own each has a different user or wallet."""

    size: int
    user_id: UUID | None
    from_wallet_id: UUID | None
    recipient_id: UUID | None = None
    to_wallet_id: UUID | None = None
    kind: str = "transfer"
    status: str = "COMPLETED"
    starts: int = 1000


TRANSFERS = (
    Group(FEW, HEAVY, HEAVY_USD, QUIET, QUIET_USD, starts=0),
    Group(FEW, HEAVY, HEAVY_USD, status="FAILED", starts=0),
    Group(FEW, HEAVY, HEAVY_EUR, starts=0),
    Group(FEW, QUIET, QUIET_USD, HEAVY, HEAVY_USD, starts=0),
    Group(FEW, QUIET, QUIET_USD, MERCHANT, MERCHANT_USD, starts=0),
    Group(FEW, OPERATOR, WORLD_EUR, kind="deposit", starts=0),
    Group(FEW, QUIET, WORLD_USD, MERCHANT, MERCHANT_USD, kind="deposit", starts=0),
    Group(FEW, OPERATOR, OPERATOR_USD, MERCHANT, MERCHANT_USD, starts=0),
    Group(FEW, MERCHANT, MERCHANT_USD, status="PENDING", starts=0),
    Group(MANY, HEAVY, HEAVY_USD),
    Group(MANY // 4, MERCHANT, MERCHANT_USD, status="FAILED"),
    Group(MANY // 4, None, None, MERCHANT, MERCHANT_USD),
    Group(MANY // 4, OPERATOR, WORLD_USD, MERCHANT, MERCHANT_USD, kind="deposit"),
)
"""Of one user 30,000 in one currency and two in another, 30,000 done and two failed, or failed and two done; many to one wallet;
an operator's deposits, and two of another operator to the same wallet; and a few of others."""

INSERT_TRANSFERS = """
INSERT INTO transfers (id, user_id, recipient_id, kind, status, amount, currency, from_wallet_id, to_wallet_id, request_hash,
                       request_id, created_at, expires_at, completed_at, failed_at, failure_code, finalized_at)
SELECT gen_random_uuid(), coalesce($2, gen_random_uuid()), coalesce($4, gen_random_uuid()), $6, $7, 1, 'USD',
       coalesce($3, gen_random_uuid()), coalesce($5, gen_random_uuid()), '', 'r', at, at,
       CASE $7 WHEN 'COMPLETED' THEN at END, CASE $7 WHEN 'FAILED' THEN at END, CASE $7 WHEN 'FAILED' THEN 'x' END,
       CASE $7 WHEN 'PENDING' THEN NULL ELSE at END
FROM (SELECT $9::timestamptz + make_interval(secs => $8::integer + n) AS at FROM generate_series(1, $1::integer) AS n) AS row
"""


@pytest.fixture
async def transfers(templates: Templates) -> AsyncIterator[TestDatabase]:
    """The transfers above, without statistics."""
    made = await templates.fresh("transaction")
    connection = await plans.superuser(made.superuser_url)
    await connection.execute("ALTER TABLE transfers SET (autovacuum_enabled = off)")
    for group in TRANSFERS:
        await connection.execute(INSERT_TRANSFERS, *group, START)
    await connection.close()
    yield made
    await templates.drop(made)


WALLETS = {
    HEAVY: (HEAVY_USD, HEAVY_EUR, QUIET_USD),
    OPERATOR: (WORLD_USD, WORLD_EUR, MERCHANT_USD),
    MERCHANT: (MERCHANT_USD, QUIET_USD, OPERATOR_USD),
    QUIET: (QUIET_USD, MERCHANT_USD, WORLD_USD),
}
"""Users, and for each the wallets to filter by: their own, another's, and those of deposits."""


class Recorder:
    """Replaces the connection: records the statement and the arguments of a store function."""

    def __init__(self) -> None:
        self.query: tuple[str, tuple[object, ...]] = "", ()

    async def fetch(self, statement: str, *arguments: object) -> list[object]:
        """Return no rows."""
        self.query = statement, arguments
        return []


def transfer_filters() -> Iterable[tuple[UUID, Filter, Position]]:
    """Every combination for every kind of user: the wallets are their own, another user's, and that of the deposits."""
    middle = START + timedelta(seconds=MANY // 2)
    for (viewer, wallets), status, kind, (since, until, below) in product(
        WALLETS.items(),
        (None, "PENDING", "COMPLETED", "FAILED"),
        (None, "transfer", "deposit"),
        (
            (None, None, NEWEST),
            (START, START + timedelta(seconds=FEW), NEWEST),
            (START, None, Position(middle, NEWEST.id)),
            (None, middle, NEWEST),
        ),
    ):
        for wallet in (None, *wallets):
            yield viewer, Filter(status, kind, wallet, since, until), below


async def check(
    connection: asyncpg.Connection, query: Sequence[tuple[str, Sequence[object]]], *, actions: int = 1
) -> None:
    """No sequential scan, and no more than a few rows and blocks for each row of the page."""
    examiner = plans.Examiner(connection)
    for mode in plans.MODES:
        await examiner.use(mode)
        for statement, arguments in query:
            work = await examiner.examine(statement, arguments)
            assert not work.scanned, (mode, arguments, work)
            assert work.rows <= (9 + 2 * actions) * LIMIT, (mode, arguments, work)
            assert work.blocks <= 300 + 20 * actions, (mode, arguments, work)


async def test_transfers(transfers: TestDatabase) -> None:
    """Every combination of status, kind, wallet, period and cursor, for users of every kind, reads only about a page."""
    connection = await plans.superuser(transfers.superuser_url)
    for name, value in READ_SETTINGS.items():
        await connection.execute(f"SET {name} = '{value}'")
    recorder = Recorder()
    query = []
    for viewer, matching, below in transfer_filters():
        await store.list_transfers(recorder, viewer, below=below, matching=matching, limit=LIMIT)  # type: ignore[arg-type]
        query.append(recorder.query)
    for statistics in ("SELECT 1", "ANALYZE transfers"):
        await connection.execute(statistics)
        await check(connection, query)
    await connection.close()


AUDIT_ROWS = """
INSERT INTO audit_log (id, at, action, actor_id, request_id, {columns})
{overriding}
SELECT {id}, $6::timestamptz + make_interval(secs => $5::integer + n), coalesce($4, 'action ' || n % 20), $2, 'r', {values}
FROM generate_series(1, $1::integer) AS n
"""
AUDIT_TABLES = {
    "auth": ("user_id", "", "gen_random_uuid()", "$3::uuid"),
    "wallet": ("account_id", "OVERRIDING SYSTEM VALUE", "(SELECT coalesce(max(id), 0) FROM audit_log) + n", "$3::uuid"),
    "transaction": ("user_id, subject_kind, subject_id", "", "gen_random_uuid()", "$3::uuid, 'x', $3"),
    "notification": ("user_id, subject_kind, subject_id", "", "gen_random_uuid()", "$3::uuid, 'x', $3"),
}
AUDIT_GROUPS = (
    (FEW, HEAVY, HEAVY, "rare", 0),
    (FEW, QUIET, QUIET, "rare", 0),
    (FEW, HEAVY, QUIET, "frequent", 0),
    (MANY, HEAVY, MERCHANT, "frequent", 1000),
    (MANY // 4, OPERATOR, QUIET, None, 1000),
)
"""One actor with very many actions of one kind about one user, and a few about others; one user with many actions of others."""

AUDIT_STATEMENTS = {"wallet": wallet_audit.LIST}
AUDIT_SETTINGS = {
    "auth": AUTH_SETTINGS,
    "notification": NOTIFICATION_PLANNER | database.READ_LIMITS,
    "wallet": WALLET_PLANNER | database.READ_LIMITS,
}


def audit_filters(service: str) -> Iterable[tuple[str, tuple[object, ...]]]:
    """Every combination of actor, user, action, period and position."""
    statement = AUDIT_STATEMENTS.get(service, audit.statements.list_audit)
    top = 2**62 if service == "wallet" else NEWEST.id
    ends = ((None, None), (START + timedelta(seconds=MANY // 2), top), (START + timedelta(seconds=FEW + 1), top))
    for actor, user, action, since, end in product(
        (None, HEAVY, QUIET), (None, HEAVY, QUIET, MERCHANT), (None, "rare", "frequent", "unknown"), (None, START), ends
    ):
        yield statement, (since, actor, user, action, *end, LIMIT)


@pytest.mark.parametrize("service", AUDIT_TABLES)
async def test_audit(templates: Templates, service: str) -> None:
    """Every combination of actor, user, action, period and cursor of each audit list reads only about a page for each action."""
    made = await templates.fresh(service)
    connection = await plans.superuser(made.superuser_url)
    columns, overriding, identifier, values = AUDIT_TABLES[service]
    insert = AUDIT_ROWS.format(columns=columns, overriding=overriding, id=identifier, values=values)
    await connection.execute("ALTER TABLE audit_log SET (autovacuum_enabled = off)")
    for group in AUDIT_GROUPS:
        await connection.execute(insert, *group, START)
    if service == "wallet":
        for user in (HEAVY, QUIET, MERCHANT, OPERATOR):
            await connection.execute("INSERT INTO accounts (id, owner_id, currency) VALUES ($1, $1, 'USD')", user)
    for name, value in AUDIT_SETTINGS.get(service, READ_SETTINGS).items():
        await connection.execute(f"SET {name} = '{value}'")
    for statistics in ("SELECT 1", "ANALYZE audit_log"):
        await connection.execute(statistics)
        await check(connection, list(audit_filters(service)), actions=22)
    await connection.close()
    await templates.drop(made)


DEAD_LETTERS = """
INSERT INTO dead_letters (id, queue, state, reason, attempts, message_id, content_hash, body, subject_ids, request_ids,
                          first_seen_at, discarded_at)
SELECT gen_random_uuid(), 'queue', $2, 'r', 1, 'm', decode(md5($2 || n), 'hex'), '', '{}', '{}',
       $4::timestamptz + make_interval(secs => $3::integer + n), CASE $2 WHEN 'discarded' THEN $4 END
FROM generate_series(1, $1::integer) AS n
"""


@pytest.mark.parametrize("service", ["transaction", "notification"])
async def test_dead_letters(templates: Templates, service: str) -> None:
    """Two waiting dead letters behind 30,000 replayed ones: every combination of queue, state and cursor reads about a page."""
    made = await templates.fresh(service)
    connection = await plans.superuser(made.superuser_url)
    for count, state, starts in ((FEW, "waiting", 0), (FEW, "discarded", 0), (MANY, "replayed", 1000)):
        await connection.execute(DEAD_LETTERS, count, state, starts, START)
    for name, value in AUDIT_SETTINGS.get(service, READ_SETTINGS).items():
        await connection.execute(f"SET {name} = '{value}'")
    ends = ((None, None), (START + timedelta(seconds=MANY // 2), NEWEST.id))
    questions = [
        (dead_letters.statements.list_dead_letters, (queue, state, *end, LIMIT))
        for queue, state, end in product((None, "queue", "other"), (None, "waiting", "discarded", "replayed"), ends)
    ]
    await check(connection, questions)
    await connection.close()
    await templates.drop(made)


NOTIFICATIONS = """
INSERT INTO notifications (id, user_id, transfer_id, kind, title, body, created_at, seq)
SELECT gen_random_uuid(), coalesce($2, gen_random_uuid()), gen_random_uuid(), 'transfer_completed', 'Title', 'Body',
       $3::timestamptz + make_interval(secs => n), CASE WHEN $4 THEN 2 * n END
FROM generate_series(1, $1::integer) AS n
"""


async def test_notifications(templates: Templates) -> None:
    """Notifications with and without numbers: every page of a user with many and of one with few reads only about a page."""
    made = await templates.fresh("notification")
    connection = await plans.superuser(made.superuser_url)
    await connection.execute("ALTER TABLE notifications SET (autovacuum_enabled = off)")
    for count, user, is_numbered in ((MANY, HEAVY, True), (MANY, HEAVY, False), (FEW, QUIET, True), (MANY, None, True)):
        await connection.execute(NOTIFICATIONS, count, user, START, is_numbered)
    for name, value in AUDIT_SETTINGS["notification"].items():
        await connection.execute(f"SET {name} = '{value}'")
    middle = await connection.fetch(
        "SELECT created_at, id FROM notifications WHERE user_id = $1 AND created_at = $2",
        HEAVY,
        START + timedelta(seconds=MANY // 2),
    )
    below = [(None, None), (START, NEWEST.id), *[tuple(row) for row in middle]]
    query = [
        (notification_statements.list_notifications, (user, *position, LIMIT))
        for user, position in product((HEAVY, QUIET), below)
    ]
    for statistics in ("SELECT 1", "ANALYZE notifications"):
        await connection.execute(statistics)
        await check(connection, query)
    await connection.close()
    await templates.drop(made)
