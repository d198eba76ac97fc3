"""Indexes for feeds."""

from services.chassis import migrations

revision = "0011"
down_revision = "0010"


def upgrade() -> None:
    """Create them beside running services."""
    migrations.load_concurrently(__file__)
