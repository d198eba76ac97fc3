"""The inbox, notices, the feed of each user, and e-mail deliveries."""

from services.chassis import migrations

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Create everything."""
    migrations.load(__file__)
