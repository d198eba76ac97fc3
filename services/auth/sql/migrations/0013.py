"""An index for the retention of sessions."""

from services.chassis import migrations

revision = "0013"
down_revision = "0012"


def upgrade() -> None:
    """Create it beside running services."""
    migrations.load_concurrently(__file__)
