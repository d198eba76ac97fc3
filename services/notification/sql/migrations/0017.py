"""Notifications of late transfers."""

from services.chassis import migrations

revision = "0017"
down_revision = "0016"


def upgrade() -> None:
    """Add a table."""
    migrations.load(__file__)
