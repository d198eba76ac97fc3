"""When each transfer was settled, so that whoever missed it can ask."""

from services.chassis import migrations

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Add the time and its index."""
    migrations.load(__file__)
