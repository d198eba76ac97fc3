"""The autoscaler's one column."""

from services.chassis import migrations

revision = "0010"
down_revision = "0009"


def upgrade() -> None:
    """Grant it."""
    migrations.load(__file__)
