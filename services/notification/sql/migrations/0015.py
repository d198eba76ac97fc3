"""Old rows may be removed."""

from services.chassis import migrations

revision = "0015"
down_revision = "0014"


def upgrade() -> None:
    """Grant it, and refuse it for rows that are not old."""
    migrations.load(__file__)
