"""The words of the audit log."""

from services.chassis import migrations

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    """Rename a column and its index."""
    migrations.load(__file__)
