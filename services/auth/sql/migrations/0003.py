"""Letters with single-use tokens, and whether an e-mail address was verified."""

from __future__ import annotations

from services.chassis import migrations

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Run the script beside this file."""
    migrations.load(__file__)
