"""PostgreSQL: pools, transactions, and which errors mean that the database is unavailable."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, suppress

import asyncpg
import structlog
from asyncpg.connect_utils import SessionAttribute
from asyncpg.pgproto import pgproto
from asyncpg.pool import PoolConnectionProxy

from services.chassis import crash_points, metrics, replication
from services.contracts.refusal import OutcomeUnknown, Refusal, Unavailable

Pool = asyncpg.Pool
Connection = asyncpg.Connection | PoolConnectionProxy
Record = asyncpg.Record
UniqueViolation = asyncpg.UniqueViolationError
DataError = asyncpg.DataError
Uuid = pgproto.UUID
"""A UUID as the driver returns it: equal to a standard one; parsed, hashed and written three to ten times faster."""
PostgresError = asyncpg.PostgresError
"""Any error of the server, for jobs that print it in one line."""

STANDBY = SessionAttribute.standby

ACQUIRE_SECONDS = 1.5
CONNECT_SECONDS = 1.5
COMMAND_SECONDS = 6.0

log = structlog.get_logger()


READ_LIMITS = {"statement_timeout": "2s", "enable_bitmapscan": "off"}
"""Server settings of a pool for reads of users. A slow read ends before the deadline of every caller. A page is read in the order
of its index: a bitmap scan has no order, so the planner would read and sort all matching rows where it expects few."""


class DatabaseUnavailable(Unavailable):
    """The database is unavailable; nothing was recorded.

    `CommitUnknown` is a subclass without this guarantee: where the difference matters, catch it first.
    """

    code = "database_unavailable"


class CommitUnknown(DatabaseUnavailable):
    """It is not known whether the request was carried out. Send it again; use the same Idempotency-Key if it has one."""

    status = OutcomeUnknown.status
    code = OutcomeUnknown.code


class LockTimeout(Exception):  # noqa: N818 - reads as what it is
    """Another transaction held a lock for longer than the lock timeout."""


UNUSABLE = (
    asyncpg.ReadOnlySQLTransactionError,
    # A cached plan that a migration has made invalid; a command that a standby cannot run.
    asyncpg.FeatureNotSupportedError,
    # A wrong search path; a schema older than this code. Not missing privileges: our triggers refuse single rows with that code.
    asyncpg.InvalidSchemaNameError,
    asyncpg.UndefinedTableError,
    asyncpg.UndefinedColumnError,
    asyncpg.UndefinedFunctionError,
    asyncpg.UndefinedObjectError,
    # A library that cannot be loaded: one of these two, depending on the error of the operating system.
    asyncpg.UndefinedFileError,
    asyncpg.InternalServerError,
)
"""Errors that mean that the database, or the state of this session, is not what the service needs. No request causes them."""

DAMAGED = (asyncpg.DataCorruptedError, asyncpg.IndexCorruptedError)
"""Internal errors that concern single rows: other requests succeed."""

STATEMENT_ERRORS = (
    asyncpg.IntegrityConstraintViolationError,
    asyncpg.DataError,
    asyncpg.RaiseError,
    asyncpg.TransactionRollbackError,
    asyncpg.LockNotAvailableError,
)
"""Errors of a statement or its arguments. Any other error may be caused by the state of the session."""

UNAVAILABLE = (
    OSError,
    TimeoutError,
    asyncpg.PostgresConnectionError,
    asyncpg.InsufficientResourcesError,
    asyncpg.OperatorInterventionError,
    asyncpg.IdleInTransactionSessionTimeoutError,
    # The server ended the session between two statements, and the driver has read its last message but not the end.
    asyncpg.InternalClientError,
)
"""Errors that say nothing about the statement: the server is down, starting, full or too slow."""

CONTENDED = (
    asyncpg.LockNotAvailableError,
    asyncpg.DeadlockDetectedError,
    asyncpg.SerializationError,
)
"""Errors caused by a concurrent transaction."""


def is_unavailable(error: BaseException) -> bool:
    """Whether the error means that the database is unavailable. A closed connection does; a wrong argument does not."""
    if isinstance(error, asyncpg.InterfaceError):
        return not isinstance(error, ValueError)
    return isinstance(error, UNAVAILABLE) or is_unusable(error)


def is_unusable(error: BaseException) -> bool:
    """Whether the error means that every session of the pool may be unusable."""
    return isinstance(error, UNUSABLE) and not isinstance(error, DAMAGED)


async def open_pool(
    url: str,
    *,
    name: str,
    size_max: int,
    command_seconds: float = COMMAND_SECONDS,
    server_settings: Mapping[str, str] | None = None,
    on: SessionAttribute = SessionAttribute.primary,
) -> Pool:
    """A pool that connects on first use, so that a service starts, not ready, while its database is unavailable.

    It connects only to the primary, or, for `STANDBY`, only to a standby, which serves stale reads and no writes.
    """
    pool = await asyncpg.create_pool(
        url,
        min_size=0,
        max_size=size_max,
        timeout=CONNECT_SECONDS,
        command_timeout=command_seconds,
        max_inactive_connection_lifetime=60,
        target_session_attrs=on,
        # No session state is ever set, so there is nothing to reset: a reset would cost a round trip for every use.
        reset=_skip_reset,
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
    """The pools of an api role: one for payments and other writes, and one for reads of users and operators."""
    pool = await open_pool(url, name=name, size_max=size_max, server_settings=server_settings)
    stack.push_async_callback(close_pool, pool)
    read_pool = await open_pool(url, name=f"{name} read", size_max=read_size_max, server_settings=read_settings)
    stack.push_async_callback(close_pool, read_pool)
    return pool, read_pool


async def _skip_reset(_connection: Connection) -> None:
    """Return a connection unchanged; the driver has already ended an open transaction."""


async def close_pool(pool: Pool, *, grace_seconds: float = 5.0) -> None:
    """Close the pool, by force if a connection is not returned in time."""
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
        DatabaseUnavailable: the server cannot be reached, or was lost meanwhile.
        LockTimeout: another transaction held a required lock.
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

    This fails if the server no longer responds, to a cancellation for instance; the pool has closed the connection then. The
    error must not hide the result of the use of the connection.
    """
    try:
        await pool.release(borrowed)
    except Exception as error:
        if not is_unavailable(error):
            raise
        log.warning("connection_not_released", error=repr(error))


async def _discard(pool: Pool, borrowed: PoolConnectionProxy, error: Exception) -> None:
    """Close the connection unless its statement caused the error; replace all others if they may be unusable, too."""
    # After an internal error the driver has lost track of the connection.
    if isinstance(error, (asyncpg.PostgresError, asyncpg.InternalClientError)) and not isinstance(
        error, STATEMENT_ERRORS
    ):
        # A connection that has ended by itself no longer belongs to the caller.
        with suppress(asyncpg.InterfaceError):
            borrowed.terminate()
    if is_unusable(error):
        await pool.expire_connections()
        # With its traceback: a wrong statement of ours looks the same.
        log.error("database_unusable", sqlstate=getattr(error, "sqlstate", None), exc_info=error)


async def _acquire(pool: Pool) -> PoolConnectionProxy:
    try:
        return await pool.acquire(timeout=ACQUIRE_SECONDS)
    except Exception as error:
        if isinstance(error, TimeoutError) and _is_exhausted(pool):
            metrics.POOL_TIMEOUTS.inc()
        # Any error of the server during the login (starting, closed, no such database, wrong password): it is unavailable.
        if isinstance(error, asyncpg.PostgresError) or is_unavailable(error):
            raise DatabaseUnavailable from error
        raise


def _is_exhausted(pool: Pool) -> bool:
    """Whether every connection that the pool may have is open and in use."""
    return pool.get_size() == pool.get_max_size() and not pool.get_idle_size()


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
    except DatabaseUnavailable as error:
        if is_committing:
            raise CommitUnknown from error
        raise
    if refusal is not None:
        raise refusal


@asynccontextmanager
async def single_statement(pool: Pool) -> AsyncIterator[Connection]:
    """A connection for one statement, which is a transaction of its own: two round trips less than `transaction`.

    Raises:
        CommitUnknown: the statement was sent and did not return, or its COMMIT did not wait for the standby.
        DatabaseUnavailable: it was not sent, or the server refused it; nothing was recorded.
        LockTimeout: another transaction held a lock that it needed; nothing was recorded.
    """
    is_sent = False
    try:
        async with connection(pool) as borrowed:
            crash_points.pass_by("before-commit")
            is_sent = True
            yield borrowed
            crash_points.pass_by("after-commit")
    except DatabaseUnavailable as error:
        if is_sent and not _is_refused(error.__cause__):
            raise CommitUnknown from error
        raise


def _is_refused(error: BaseException | None) -> bool:
    """Whether the server has undone the statement: an ERROR does; a FATAL may also follow its COMMIT."""
    return isinstance(error, asyncpg.PostgresError) and getattr(error, "severity_en", None) == "ERROR"


@asynccontextmanager
async def snapshot(pool: Pool) -> AsyncIterator[Connection]:
    """One read-only transaction that sees a single instant (REPEATABLE READ); raises as `connection` does."""
    async with (
        connection(pool) as borrowed,
        borrowed.transaction(isolation="repeatable_read", readonly=True),
    ):
        yield borrowed
