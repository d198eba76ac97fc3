"""Where accounts logged in from."""

from __future__ import annotations

from services.chassis import migrations

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    """Run the script beside this file."""
    migrations.load(__file__)
