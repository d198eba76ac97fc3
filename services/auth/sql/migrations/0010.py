"""The words of the audit log."""

from services.chassis import migrations

revision = "0010"
down_revision = "0009"


def upgrade() -> None:
    """Rename a column and its index."""
    migrations.load(__file__)
