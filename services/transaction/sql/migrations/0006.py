"""Indexes for every combination of filters of the audit list."""

from services.chassis import migrations

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    """Create them beside running services."""
    migrations.load_concurrently(__file__)
