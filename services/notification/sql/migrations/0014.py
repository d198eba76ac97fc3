"""An index for the retention of events."""

from services.chassis import migrations

revision = "0014"
down_revision = "0013"


def upgrade() -> None:
    """Create it beside running services."""
    migrations.load_concurrently(__file__)
