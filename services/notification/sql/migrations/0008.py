"""Plain words in comments."""

from services.chassis import migrations

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    """Replace texts."""
    migrations.load(__file__)
