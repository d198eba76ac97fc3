"""The revision is readable."""

from services.chassis import migrations

revision = "0009"
down_revision = "0008"


def upgrade() -> None:
    """Grant what readiness reads."""
    migrations.load(__file__)
