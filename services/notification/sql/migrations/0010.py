"""A notification is numbered in its user's feed and holds what was said about the transfer."""

from services.chassis import migrations

revision = "0010"
down_revision = "0009"


def upgrade() -> None:
    """Add the number and the transfer to notifications."""
    migrations.load(__file__)
