"""`python -m services.wallet api|migrate`."""

from __future__ import annotations

import sys

from services.chassis import migrations
from services.chassis.roles import Job, Role, run
from services.wallet.app import serve_api
from services.wallet.settings import MigrateSettings, WalletSettings


async def migrate(settings: MigrateSettings, _arguments: list[str]) -> None:
    """Bring the database to the newest revision."""
    await migrations.migrate("wallet", settings.wallet_owner_database_url.get_secret_value())


if __name__ == "__main__":
    run("wallet", {"api": Role(WalletSettings, serve_api)}, {"migrate": Job(MigrateSettings, migrate)}, sys.argv[1:])
