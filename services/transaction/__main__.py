"""`python -m services.transaction api|relay|worker|reversal|migrate`."""

from __future__ import annotations

import sys

from services.chassis import migrations
from services.chassis.roles import Job, Role, run
from services.transaction.app import serve_api, serve_relay, serve_reversal, serve_worker
from services.transaction.settings import (
    ApiSettings,
    MigrateSettings,
    RelaySettings,
    ReversalSettings,
    WorkerSettings,
)


async def migrate(settings: MigrateSettings, _arguments: list[str]) -> None:
    """Bring the database to the newest revision."""
    await migrations.migrate("transaction", settings.transaction_owner_database_url.get_secret_value())


ROLES = {
    "api": Role(ApiSettings, serve_api),
    "relay": Role(RelaySettings, serve_relay),
    "worker": Role(WorkerSettings, serve_worker),
    "reversal": Role(ReversalSettings, serve_reversal),
}
JOBS = {"migrate": Job(MigrateSettings, migrate)}

if __name__ == "__main__":
    run("transaction", ROLES, JOBS, sys.argv[1:])
