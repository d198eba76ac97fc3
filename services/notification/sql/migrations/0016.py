"""One index for feeds and lists of notifications."""

from services.chassis import migrations

revision = "0016"
down_revision = "0015"


def upgrade() -> None:
    """Create it beside running services, then drop those that it replaces."""
    migrations.load_concurrently(__file__)
