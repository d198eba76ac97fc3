"""Indexes for every combination of filters of the transfer list."""

from services.chassis import migrations

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    """Create them beside running services, then drop those that they replace."""
    migrations.load_concurrently(__file__)
