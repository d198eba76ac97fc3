"""`python -m services.wallet api|seal|migrate`."""

from __future__ import annotations

import sys

from services.chassis import migrations
from services.chassis.roles import Job, Role, run
from services.wallet.app import serve_api, serve_seal
from services.wallet.settings import MigrateSettings, SealSettings, WalletSettings


async def migrate(settings: MigrateSettings, _arguments: list[str]) -> None:
    """Bring the database to the newest revision."""
    await migrations.migrate("wallet", settings.wallet_owner_database_url.get_secret_value())


ROLES = {"api": Role(WalletSettings, serve_api), "seal": Role(SealSettings, serve_seal)}
JOBS = {"migrate": Job(MigrateSettings, migrate)}

if __name__ == "__main__":
    run("wallet", ROLES, JOBS, sys.argv[1:])
