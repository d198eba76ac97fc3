"""What the logins that provision.sql makes may connect to, on a real server."""

from __future__ import annotations

import asyncpg

from deploy.local.engines import Postgres

DATABASES = {
    "payflow_auth": {"auth"},
    "payflow_auth_owner": {"auth"},
    "payflow_wallet": {"wallet"},
    "payflow_wallet_owner": {"wallet"},
    "payflow_wallet_proof": {"wallet"},
    "payflow_wallet_seal": {"wallet"},
    "payflow_transaction": {"transaction"},
    "payflow_transaction_owner": {"transaction"},
    "payflow_scaler": {"transaction"},
    "payflow_notification": {"notification"},
    "payflow_notification_owner": {"notification"},
    "payflow_monitor": {"postgres"},
    "payflow_backup": set(),
}
PRIVILEGES = """
SELECT rolname::text, array_remove(
    array_agg(CASE WHEN has_database_privilege(rolname, datname, 'CONNECT') THEN datname::text END), NULL
)
FROM pg_roles, unnest(ARRAY['postgres', 'template1', 'auth', 'wallet', 'transaction', 'notification']) AS datname
WHERE rolname LIKE 'payflow\\_%' GROUP BY rolname
"""


async def test_each_login_connects_to_its_own_database(postgres: Postgres) -> None:
    """No login reaches the database of another service, and none is a superuser; the server's own databases are closed."""
    connection = await asyncpg.connect(postgres.dsn("postgres"))
    try:
        found = {name: set(databases) for name, databases in await connection.fetch(PRIVILEGES)}
        supers = await connection.fetchval(
            "SELECT count(*) FROM pg_roles WHERE rolname LIKE 'payflow\\_%' AND (rolsuper OR rolcreaterole OR rolcreatedb)"
        )
    finally:
        await connection.close()

    assert (found, supers) == (DATABASES, 0)
