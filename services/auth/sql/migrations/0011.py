"""Tables named for what they hold: e-mails and known locations."""

from services.chassis import migrations

revision = "0011"
down_revision = "0010"


def upgrade() -> None:
    """Run the script beside this file."""
    migrations.load(__file__)
