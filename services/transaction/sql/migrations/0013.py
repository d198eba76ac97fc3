"""One index for transfers between two wallets."""

from services.chassis import migrations

revision = "0013"
down_revision = "0012"


def upgrade() -> None:
    """Create it beside running services, then drop those that it replaces."""
    migrations.load_concurrently(__file__)
