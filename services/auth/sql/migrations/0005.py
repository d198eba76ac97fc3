"""API keys. They end through the same numbered feed as sessions."""

from __future__ import annotations

from services.chassis import migrations

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    """Run the script beside this file."""
    migrations.load(__file__)
