"""Letters without a token, and what an API key was made by."""

from __future__ import annotations

from services.chassis import migrations

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    """Run the script beside this file."""
    migrations.load(__file__)
