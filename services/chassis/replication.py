"""Replication: responses that depend on rows found wait until these are replicated; and COMMITs that did not wait."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from uuid import UUID

import asyncpg
from asyncpg.pool import PoolConnectionProxy

from services.chassis.statements import Statements
from services.contracts.refusal import Refusal

Connection = asyncpg.Connection | PoolConnectionProxy

statements = Statements(Path(__file__).parent / "sql" / "queries_replication.sql")


class OnceReplicated(Exception):  # noqa: N818 - reads as what it is
    """Raised inside `database.transaction`: commits, waits as `await_replication` does, then raises the refusal."""

    def __init__(self, refusal: Refusal) -> None:
        """`refusal` depends on rows that the transaction found."""
        super().__init__(refusal)
        self.refusal = refusal


class ReplicationWaits:
    """Detects that the server ended the wait of a COMMIT for its standby: it reports success then, with a warning."""

    SQLSTATES = frozenset({"01000", "57P01"})
    """The wait was cancelled; the session was terminated during it."""

    def __init__(self) -> None:
        self.cancelled = False

    def on_message(self, _connection: Connection, message: asyncpg.PostgresLogMessage) -> None:
        """Record such a warning. None of our statements causes another one with these codes."""
        if message.severity_en == "WARNING" and message.sqlstate in self.SQLSTATES:
            self.cancelled = True


async def await_replication(connection: Connection) -> None:
    """Make the COMMIT of this transaction wait until all that it found is replicated, as the COMMIT of a write does.

    A row that is found may be on this server only: the timeout of a client ends the wait of its COMMIT, not the commit. So this
    is required in each transaction that writes nothing and whose result depends on rows found. It must be the same transaction:
    a later one may reach another server. A refusal raised after it rolls back without any wait: use `OnceReplicated`.
    """
    assert connection.is_in_transaction(), "outside a transaction nothing waits"
    await connection.execute(statements.await_replication)


CONFIRMED_MAX = 200_000
_confirmed: set[UUID] = set()


def list_unconfirmed(ids: Iterable[UUID]) -> set[UUID]:
    """The ids that this process has not confirmed: their rows may be on this server only."""
    return set(ids) - _confirmed


def confirm(ids: Iterable[UUID]) -> None:
    """Remember that rows which are never removed are replicated. Call it after the transaction that waited for them."""
    if len(_confirmed) > CONFIRMED_MAX:
        _confirmed.clear()
    _confirmed.update(ids)
