"""Notifications, finalized transfers, and the words of the audit log."""

from services.chassis import migrations

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    """Rename a table, columns and their constraints; rename the queue and the type in dead letters."""
    migrations.load(__file__)
