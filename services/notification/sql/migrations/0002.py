"""How far the catch-up has come."""

from services.chassis import migrations

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Create the table."""
    migrations.load(__file__)
