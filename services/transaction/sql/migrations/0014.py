"""The time at which a transfer is expected to be final."""

from services.chassis import migrations

revision = "0014"
down_revision = "0013"


def upgrade() -> None:
    """Add a column."""
    migrations.load(__file__)
