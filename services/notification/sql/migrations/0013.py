"""Earlier code recognizes what later code has recorded."""

from services.chassis import migrations

revision = "0013"
down_revision = "0012"


def upgrade() -> None:
    """Add a trigger to the inbox."""
    migrations.load(__file__)
