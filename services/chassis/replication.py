"""Replication: what a response must wait for where it rests on rows found, and the COMMIT that did not wait."""

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
        """`refusal` rests on rows that the transaction found."""
        super().__init__(refusal)
        self.refusal = refusal


class ReplicationWaits:
    """Whether the server ended the wait of a commit for its standby: it reports success then, with a warning."""

    SQLSTATES = frozenset({"01000", "57P01"})
    """The wait was cancelled; the session was terminated in it."""

    def __init__(self) -> None:
        self.cancelled = False

    def on_message(self, _connection: Connection, message: asyncpg.PostgresLogMessage) -> None:
        """Nothing else of ours makes the server send a warning with one of these codes."""
        if message.severity_en == "WARNING" and message.sqlstate in self.SQLSTATES:
            self.cancelled = True


async def await_replication(connection: Connection) -> None:
    """Make the COMMIT of this transaction wait until all that it found is replicated, as the COMMIT of a write does.

    A row that is found may be on this server only: the time-out of a client ends the wait of its COMMIT, not the commit. So this
    is required in each transaction whose result rests on rows found and that writes nothing itself. It must be the same one: a
    later transaction may reach another server. A refusal raised after it rolls back, without any wait: use `OnceReplicated`.
    """
    assert connection.is_in_transaction(), "outside a transaction nothing waits"
    await connection.execute(statements.await_replication)


CONFIRMED_MAX = 200_000
_confirmed: set[UUID] = set()


def list_unconfirmed(ids: Iterable[UUID]) -> set[UUID]:
    """Those of the ids that this process has not confirmed: their rows may be on this server only."""
    return set(ids) - _confirmed


def confirm(ids: Iterable[UUID]) -> None:
    """Remember that rows which are never removed are replicated: to be called after the transaction that waited for them."""
    if len(_confirmed) > CONFIRMED_MAX:
        _confirmed.clear()
    _confirmed.update(ids)
