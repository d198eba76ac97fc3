"""Plain words in messages and comments."""

from services.chassis import migrations

revision = "0009"
down_revision = "0008"


def upgrade() -> None:
    """Replace texts."""
    migrations.load(__file__)
