"""Subjects of dead letters."""

from services.chassis import migrations

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    """Rename a column and its index."""
    migrations.load(__file__)
