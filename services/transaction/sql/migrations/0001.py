"""Transfers, idempotency keys, the wallet directory, the outbox and heartbeats."""

from pathlib import Path

from services.chassis import migrations

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Create everything."""
    migrations.run_script((Path(migrations.__file__).parent / "sql" / "outbox.sql").read_text())
    migrations.load(__file__)
