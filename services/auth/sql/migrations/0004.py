"""The audit log is read by time and by who acted."""

from services.chassis import migrations

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """Add the indexes."""
    migrations.load(__file__)
