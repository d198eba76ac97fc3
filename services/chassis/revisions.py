"""The revisions of the databases that this code knows. Imports nothing, so that everything may import it."""

from __future__ import annotations

from pathlib import Path

SERVICES = Path(__file__).parents[1]


def newest(service: str) -> str:
    """The newest revision of a service's database. Revisions are numbered, `0001` and so on, so they compare as text."""
    return max(path.stem for path in (SERVICES / service / "sql" / "migrations").glob("*.sql"))
