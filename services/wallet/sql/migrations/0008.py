"""Late outcomes that an operator admits."""

from services.chassis import migrations

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    """Create the table of admissions, and let the audit log name a transfer."""
    migrations.load(__file__)
