"""Sealed blocks, and the last round of the proof."""

from services.chassis import migrations

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Create both tables and what the sealer may do."""
    migrations.load(__file__)
