"""Finalized transfers, and the words of the audit log."""

from services.chassis import migrations

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    """Rename columns, an index and a trigger; rename the type in what is not published yet."""
    migrations.load(__file__)
