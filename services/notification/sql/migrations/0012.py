"""A counter may be at zero."""

from services.chassis import migrations

revision = "0012"
down_revision = "0011"


def upgrade() -> None:
    """Widen the check of the counters."""
    migrations.load(__file__)
