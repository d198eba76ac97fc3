"""Accounts, entries, outcomes, and the rules that the database itself holds."""

from services.chassis import migrations

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Create everything."""
    migrations.load(__file__)
