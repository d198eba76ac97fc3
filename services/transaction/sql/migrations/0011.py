"""The revision is readable; old heartbeats can be deleted."""

from services.chassis import migrations

revision = "0011"
down_revision = "0010"


def upgrade() -> None:
    """Grant what readiness reads and the monitor deletes."""
    migrations.load(__file__)
