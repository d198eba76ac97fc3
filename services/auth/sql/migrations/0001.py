"""Users, sessions with their refresh tokens, signing keys, and the audit log."""

from __future__ import annotations

from services.chassis import migrations

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Run the script beside this file."""
    migrations.load(__file__)
