"""Sessions that ended long ago may be removed."""

from services.chassis import migrations

revision = "0014"
down_revision = "0013"


def upgrade() -> None:
    """Grant it, and refuse it for others."""
    migrations.load(__file__)
