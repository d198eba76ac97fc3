"""The revision is readable."""

from services.chassis import migrations

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    """Grant what readiness reads."""
    migrations.load(__file__)
