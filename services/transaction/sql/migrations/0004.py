"""Dead letters on record."""

from pathlib import Path

from services.chassis import migrations

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """Create their table."""
    migrations.run_script((Path(migrations.__file__).parent / "sql" / "dead_letters.sql").read_text())
    migrations.load(__file__)
