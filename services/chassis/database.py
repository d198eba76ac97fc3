"""PostgreSQL: the pool, the transaction, and which errors mean "away" rather than "wrong"."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, suppress

import asyncpg
import structlog
from asyncpg.connect_utils import SessionAttribute
from asyncpg.pool import PoolConnectionProxy

from services.chassis import crash_points, replication
from services.contracts.refusal import OutcomeUnknown, Refusal, Unavailable

Pool = asyncpg.Pool
Connection = asyncpg.Connection | PoolConnectionProxy
Record = asyncpg.Record
PostgresError = asyncpg.PostgresError
"""Anything the server said no to, for jobs that tell it to a person in one line."""

ACQUIRE_SECONDS = 1.5
CONNECT_SECONDS = 1.5
COMMAND_SECONDS = 6.0

log = structlog.get_logger()


READ_LIMITS = {"statement_timeout": "2s", "enable_bitmapscan": "off"}
"""Server settings of a pool for users' reads. A slow one ends, before every caller's deadline. A page is read in the order of its
index: a bitmap has no order, so the planner would read and sort all that match where it expects few."""


class DatabaseUnavailable(Unavailable):
    """The database is unavailable; nothing was recorded.

    `CommitUnknown` is a subclass without this promise: where the difference matters, catch it first.
    """

    code = "database_unavailable"


class CommitUnknown(DatabaseUnavailable):
    """It is not known whether the request was carried out. Send it again; use the same Idempotency-Key if it has one."""

    status = OutcomeUnknown.status
    code = OutcomeUnknown.code


class LockTimeout(Exception):  # noqa: N818 - reads as what it is
    """A row or key was held by somebody else for longer than the lock timeout."""


UNUSABLE = (
    asyncpg.ReadOnlySQLTransactionError,
    # A cached plan that a migration made invalid; what a standby cannot do.
    asyncpg.FeatureNotSupportedError,
    # A wrong search path, a schema older than this code. Not missing privileges: our triggers refuse single rows with those.
    asyncpg.InvalidSchemaNameError,
    asyncpg.UndefinedTableError,
    asyncpg.UndefinedColumnError,
    asyncpg.UndefinedFunctionError,
    asyncpg.UndefinedObjectError,
    # A library that cannot be loaded is one or the other, depending on what the operating system says.
    asyncpg.UndefinedFileError,
    asyncpg.InternalServerError,
)
"""Errors that mean: the database, or the state of this session, is not what the service needs. No request is at fault."""

DAMAGED = (asyncpg.DataCorruptedError, asyncpg.IndexCorruptedError)
"""Internal errors that concern single rows: other requests succeed."""

OF_THE_STATEMENT = (
    asyncpg.IntegrityConstraintViolationError,
    asyncpg.DataError,
    asyncpg.RaiseError,
    asyncpg.TransactionRollbackError,
    asyncpg.LockNotAvailableError,
)
"""Errors that a session in order reports about a statement and its arguments. Any other may be a state of the session."""

UNAVAILABLE = (
    OSError,
    TimeoutError,
    asyncpg.PostgresConnectionError,
    asyncpg.InsufficientResourcesError,
    asyncpg.OperatorInterventionError,
    asyncpg.IdleInTransactionSessionTimeoutError,
    # The server ended the session between two statements, and the driver has read its last word but not yet the end.
    asyncpg.InternalClientError,
)
"""Errors that say nothing about the statement: the server is gone, starting, full, or too slow."""

CONTENDED = (
    asyncpg.LockNotAvailableError,
    asyncpg.DeadlockDetectedError,
    asyncpg.SerializationError,
)
"""Errors that say that somebody else was in the way."""


def is_unavailable(error: BaseException) -> bool:
    """Whether the error means that the database is away. A closed connection is; a wrong argument is not."""
    if isinstance(error, asyncpg.InterfaceError):
        return not isinstance(error, ValueError)
    return isinstance(error, UNAVAILABLE) or is_unusable(error)


def is_unusable(error: BaseException) -> bool:
    """Whether the error means that every session of the pool may be in a state in which it cannot serve."""
    return isinstance(error, UNUSABLE) and not isinstance(error, DAMAGED)


async def open_pool(
    url: str,
    *,
    name: str,
    size_max: int,
    command_seconds: float = COMMAND_SECONDS,
    server_settings: Mapping[str, str] | None = None,
) -> Pool:
    """A pool that connects on first use, so that a service starts, and says it is not ready, while its database is away."""
    pool = await asyncpg.create_pool(
        url,
        min_size=0,
        max_size=size_max,
        timeout=CONNECT_SECONDS,
        command_timeout=command_seconds,
        max_inactive_connection_lifetime=60,
        # A standby serves stale reads and no writes: no session on one enters the pool.
        target_session_attrs=SessionAttribute.primary,
        # No session state is ever set, so there is none to reset: it would cost a round trip for every use.
        reset=_keep,
        server_settings={"application_name": name, **(server_settings or {})},
    )
    assert pool is not None
    return pool


async def open_service_pools(
    stack: AsyncExitStack,
    url: str,
    *,
    name: str,
    size_max: int,
    read_size_max: int,
    server_settings: Mapping[str, str] | None = None,
    read_settings: Mapping[str, str] = READ_LIMITS,
) -> tuple[Pool, Pool]:
    """The pools of an api role: one for payments and writes, and one for reads of users and operators."""
    pool = await open_pool(url, name=name, size_max=size_max, server_settings=server_settings)
    stack.push_async_callback(close_pool, pool)
    read_pool = await open_pool(url, name=f"{name} read", size_max=read_size_max, server_settings=read_settings)
    stack.push_async_callback(close_pool, read_pool)
    return pool, read_pool


async def _keep(_connection: Connection) -> None:
    """Give a connection back as it is; the driver has already ended a transaction that was left open."""


async def close_pool(pool: Pool, *, grace_seconds: float = 5.0) -> None:
    """Close gently, and by force when somebody does not give a connection back in time."""
    try:
        async with asyncio.timeout(grace_seconds):
            await pool.close()
    except (TimeoutError, *UNAVAILABLE):
        pool.terminate()


@asynccontextmanager
async def connection(pool: Pool) -> AsyncIterator[Connection]:
    """Borrow a connection.

    Raises:
        CommitUnknown: a COMMIT in it did not wait for the standby.
        DatabaseUnavailable: the server cannot be reached, or went away meanwhile.
        LockTimeout: somebody else held what this needed.
    """
    borrowed = await _acquire(pool)
    waits = replication.ReplicationWaits()
    borrowed.add_log_listener(waits.on_message)
    try:
        yield borrowed
    except CONTENDED as error:
        raise LockTimeout(str(error)) from error
    except Exception as error:
        await _discard(pool, borrowed, error)
        if is_unavailable(error):
            raise DatabaseUnavailable from error
        raise
    else:
        if waits.cancelled:
            raise CommitUnknown
        crash_points.pass_by("after-use")
    finally:
        with suppress(asyncpg.InterfaceError):  # the connection was closed meanwhile
            borrowed.remove_log_listener(waits.on_message)
        await _release(pool, borrowed)


async def _release(pool: Pool, borrowed: PoolConnectionProxy) -> None:
    """Return a connection to its pool.

    A server that does not respond any more, to a cancellation for instance, makes this fail: the pool has closed the
    connection then. It must not hide how the use of the connection ended.
    """
    try:
        await pool.release(borrowed)
    except Exception as error:
        if not is_unavailable(error):
            raise
        log.warning("connection_not_released", error=repr(error))


async def _discard(pool: Pool, borrowed: PoolConnectionProxy, error: Exception) -> None:
    """Close the connection unless the error is one of its statement; replace all others where they may fail alike."""
    # After an internal error the driver has lost track of the connection.
    if isinstance(error, (asyncpg.PostgresError, asyncpg.InternalClientError)) and not isinstance(
        error, OF_THE_STATEMENT
    ):
        # What has ended by itself is no longer the caller's.
        with suppress(asyncpg.InterfaceError):
            borrowed.terminate()
    if is_unusable(error):
        await pool.expire_connections()
        # With its trace: a wrong statement of ours looks the same.
        log.error("database_unusable", sqlstate=getattr(error, "sqlstate", None), exc_info=error)


async def _acquire(pool: Pool) -> PoolConnectionProxy:
    try:
        return await pool.acquire(timeout=ACQUIRE_SECONDS)
    except Exception as error:
        # Whatever a server says before it lets us in (starting, closed, no such database, unknown password): it is away.
        if isinstance(error, asyncpg.PostgresError) or is_unavailable(error):
            raise DatabaseUnavailable from error
        raise


@asynccontextmanager
async def transaction(pool: Pool) -> AsyncIterator[Connection]:
    """One database transaction (READ COMMITTED).

    Raises:
        CommitUnknown: COMMIT was sent and did not return, or did not wait for the standby.
        DatabaseUnavailable: before COMMIT; nothing was recorded.
        LockTimeout: another transaction held a lock that this one needed; nothing was recorded.
    """
    refusal: Refusal | None = None
    is_committing = False
    try:
        async with connection(pool) as borrowed:
            async with borrowed.transaction(isolation="read_committed"):
                try:
                    yield borrowed
                except replication.OnceReplicated as found:
                    refusal = found.refusal
                    await replication.await_replication(borrowed)
                crash_points.pass_by("before-commit")
                is_committing = True
            crash_points.pass_by("after-commit")
    except DatabaseUnavailable as away:
        if is_committing:
            raise CommitUnknown from away
        raise
    if refusal is not None:
        raise refusal


@asynccontextmanager
async def snapshot(pool: Pool) -> AsyncIterator[Connection]:
    """One reading transaction that sees a single instant (REPEATABLE READ, read only); raises as `connection` does."""
    async with (
        connection(pool) as borrowed,
        borrowed.transaction(isolation="repeatable_read", readonly=True),
    ):
        yield borrowed
