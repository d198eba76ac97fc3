"""The audit log is read by time."""

from services.chassis import migrations

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Add the index."""
    migrations.load(__file__)
