"""The newest revision of each database that this code has, and how the revisions of a container's databases are read."""

from __future__ import annotations

from deploy.local.engines.postgres import SUPERUSER
from deploy.local.home import REPOSITORY
from deploy.local.roles import SERVICES

STATEMENT = "select version_num from alembic_version"


def expected() -> dict[str, str]:
    """The newest revision by service."""
    return {service: _newest(service) for service in SERVICES}


def _newest(service: str) -> str:
    folder = REPOSITORY / "services" / service / "sql" / "migrations"
    return max(path.stem for path in folder.glob("*.sql"))


def shell() -> str:
    """A script for the container of PostgreSQL: it prints `NAME=VALUE` for each database and for `max_connections`."""
    query = f"psql --host=127.0.0.1 --username={SUPERUSER} --no-psqlrc --quiet --tuples-only --no-align"
    lines = [
        f"echo {service}=$({query} --dbname={service} --command='{STATEMENT}' 2>/dev/null)" for service in SERVICES
    ]
    settings = f"echo max_connections=$({query} --dbname=postgres --command='show max_connections' 2>/dev/null)"
    return "\n".join(["export PGPASSWORD=$(cat /run/secrets/postgres_password)", *lines, settings])


def parse(output: str) -> tuple[dict[str, str | None], int | None]:
    """The revision of each database and `max_connections`, from the output of the script; None where it printed nothing."""
    values = {name: value or None for name, _, value in (line.partition("=") for line in output.splitlines())}
    connections_max = values.pop("max_connections", None)
    return values, int(connections_max) if connections_max else None
