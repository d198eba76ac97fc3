"""Indexes for every combination of filters of the audit list."""

from services.chassis import migrations

revision = "0009"
down_revision = "0008"


def upgrade() -> None:
    """Create them beside running services."""
    migrations.load_concurrently(__file__)
