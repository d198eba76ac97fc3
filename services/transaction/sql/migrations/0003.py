"""The audit log of what operators do here."""

from pathlib import Path

from services.chassis import migrations

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Create it."""
    migrations.run_script((Path(migrations.__file__).parent / "sql" / "audit_log.sql").read_text())
    migrations.load(__file__)
