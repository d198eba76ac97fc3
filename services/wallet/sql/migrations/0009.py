"""Requested runs of the proof."""

from services.chassis import migrations

revision = "0009"
down_revision = "0008"


def upgrade() -> None:
    """Create the table of requested runs, and let the sealer read the audit log."""
    migrations.load(__file__)
