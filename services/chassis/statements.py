"""Named SQL statements."""

from __future__ import annotations

import logging
from pathlib import Path

import aiosql

# aiosql warns about statements without a result marker; the store functions show which statements return rows.
logging.getLogger("aiosql").setLevel(logging.ERROR)


class Statements:
    """The statements of one `queries.sql`, by name: `statements.lock_accounts` is its text."""

    def __init__(self, path: Path) -> None:
        """Load the file.

        Raises:
            aiosql.utils.SQLParseException: a name occurs twice, or the file is not a list of named statements.
        """
        loaded = aiosql.from_path(path, "asyncpg", mandatory_parameters=False)
        self._texts = {
            name: getattr(loaded, name).sql for name in loaded.available_queries if not name.endswith("_cursor")
        }

    @property
    def names(self) -> frozenset[str]:
        """All names, for the test that finds unused ones."""
        return frozenset(self._texts)

    def __getattr__(self, name: str) -> str:
        try:
            return str(self._texts[name])
        except KeyError:
            raise AttributeError(f"no statement named {name}") from None
