"""The revision is readable."""

from services.chassis import migrations

revision = "0012"
down_revision = "0011"


def upgrade() -> None:
    """Grant what readiness reads."""
    migrations.load(__file__)
