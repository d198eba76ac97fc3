"""Rows of the outbox with many items, and the lease of the relay."""

from services.chassis import migrations

revision = "0012"
down_revision = "0011"


def upgrade() -> None:
    """Add a column and a table."""
    migrations.load(__file__)
