"""Letters about the second factor."""

from __future__ import annotations

from services.chassis import migrations

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    """Run the script beside this file."""
    migrations.load(__file__)
