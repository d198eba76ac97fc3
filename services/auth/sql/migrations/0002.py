"""Second factors, disabled users, what a session was opened with, and keys that retire by themselves."""

from __future__ import annotations

from services.chassis import migrations

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Run the script beside this file."""
    migrations.load(__file__)
