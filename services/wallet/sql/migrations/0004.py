"""A user's balance has an upper limit."""

from services.chassis import migrations

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """Add the constraint."""
    migrations.load(__file__)
