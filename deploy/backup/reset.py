"""Discards what is newer than the restored databases, before any role starts.

The broker has commands of transfers that the restore removed: a worker would post them, and a retry of the request would then
pay a second time. Redis has the responses to requests that no longer exist. Sessions, signing keys and links in e-mails that
were ended after the restored moment would be valid again. Clients of live events have positions that the feeds have not reached.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from typing import NamedTuple
from urllib.parse import quote, urlsplit

import aiohttp
import redis.asyncio
import redis.exceptions

from deploy.backup import databases
from deploy.backup.databases import connect
from deploy.programs import DeployError

SECONDS_MAX = 30.0
SEQ_GAP = 1_000_000
"""More events than any user gets in the time that a restore loses."""

USERS_AT_A_TIME = 10_000
NO_ROLES = ("payflow_backup", "payflow_monitor", "payflow_scaler")
"""Logins that change nothing."""

SESSIONS = """
SELECT DISTINCT usename::text FROM pg_stat_activity
WHERE usename LIKE 'payflow\\_%' AND usename NOT LIKE '%\\_owner' AND usename <> ALL($1::text[])
"""
REVOKE_SESSIONS = """
WITH ended AS (
    SELECT id, row_number() OVER (ORDER BY id) AS number FROM sessions WHERE revoked_at IS NULL
), counter AS (
    UPDATE revocation_counter SET last = last + (SELECT count(*) FROM ended) RETURNING last
)
UPDATE sessions SET revoked_at = clock_timestamp(), reason = 'revoked',
                    seq = (SELECT last FROM counter) - (SELECT count(*) FROM ended) + ended.number
FROM ended WHERE sessions.id = ended.id
"""
RETIRE_KEYS = "UPDATE signing_keys SET retired_at = clock_timestamp() WHERE retired_at IS NULL"
WITHDRAW_LINKS = """
UPDATE emails SET ended_at = clock_timestamp(), ended_as = 'withdrawn', token_sealed = NULL
WHERE ended_at IS NULL AND token_hash IS NOT NULL
"""
ADVANCE_FEEDS = """
INSERT INTO event_counters (user_id, last_seq) SELECT unnest($1::uuid[]), $2
ON CONFLICT (user_id) DO UPDATE SET last_seq = event_counters.last_seq + $2
"""


class Addresses(NamedTuple):
    """Where a deployment's engines are. The databases with the logins of their owners."""

    databases: Mapping[str, str]
    management: str
    redis: str


async def reset(to: Addresses, report: Callable[[str], None]) -> None:
    """Discard everything; safe to repeat. `report` receives one line per step.

    Raises:
        DeployError: a role is connected, or an engine cannot be reached; the earlier steps are done.
    """
    await _refuse_running_roles(to.databases)
    deleted = await empty_broker(to.management)
    report(f"broker: {deleted} queues deleted; the roles declare them again")
    await _empty_redis(to.redis)
    report("Redis: emptied")
    for line in await _end_access(to.databases["auth"]):
        report(line)
    report(f"live events: the feeds of {await _advance_feeds(to.databases)} users advanced by {SEQ_GAP}")


async def _refuse_running_roles(addresses: Mapping[str, str]) -> None:
    """A running role could act on what it still has in memory."""
    connected = set()
    for name, url in addresses.items():
        connection = await connect(name, url)
        try:
            connected |= {row["usename"] for row in await connection.fetch(SESSIONS, NO_ROLES)}
        finally:
            await connection.close()
    if connected:
        raise DeployError(f"stop every role first; connected to the server: {', '.join(sorted(connected))}")


async def empty_broker(url: str) -> int:
    """Delete every queue with its messages; returns how many there were.

    Raises:
        DeployError: the management API did not do it.
    """
    parts = urlsplit(url)
    base = parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl().rstrip("/")
    login = {"Authorization": aiohttp.encode_basic_auth(parts.username or "", parts.password or "")}
    timeout = aiohttp.ClientTimeout(total=SECONDS_MAX)
    try:
        async with aiohttp.ClientSession(headers=login, timeout=timeout, raise_for_status=True) as session:
            names = await _queues(session, base)
            for vhost, name in names:
                async with session.delete(f"{base}/api/queues/{quote(vhost, safe='')}/{quote(name, safe='')}"):
                    pass
            left = await _queues(session, base)
    except (aiohttp.ClientError, TimeoutError) as error:
        raise DeployError(f"the broker's queues were not deleted: {error or 'no response'}") from None
    if left:
        raise DeployError(f"the broker still has the queues {', '.join(name for _, name in left)}")
    return len(names)


async def _queues(session: aiohttp.ClientSession, base: str) -> list[tuple[str, str]]:
    async with session.get(f"{base}/api/queues", params={"columns": "vhost,name"}) as response:
        return [(queue["vhost"], queue["name"]) for queue in await response.json()]


async def _empty_redis(url: str) -> None:
    client = redis.asyncio.from_url(url, socket_timeout=SECONDS_MAX, socket_connect_timeout=SECONDS_MAX)
    try:
        await client.flushall()
    except (redis.exceptions.RedisError, OSError) as error:
        raise DeployError(f"Redis was not emptied: {error}") from None
    finally:
        await client.aclose()


async def _end_access(url: str) -> list[str]:
    """Users sign in again; auth makes a new signing key when it starts, so that no access token from before is valid."""
    connection = await connect("auth", url)
    try:
        async with connection.transaction():
            sessions, keys, links = [
                _count(await connection.execute(statement))
                for statement in (REVOKE_SESSIONS, RETIRE_KEYS, WITHDRAW_LINKS)
            ]
    finally:
        await connection.close()
    return [
        f"auth: {sessions} sessions ended, {keys} signing keys retired, {links} links in e-mails withdrawn",
    ]


async def _advance_feeds(addresses: Mapping[str, str]) -> int:
    """A client that has a position from the lost time must reload; it would else miss the events that get these numbers."""
    notification = await connect("notification", addresses["notification"])
    try:
        count = 0
        async with notification.transaction():
            async for users in _users(addresses["auth"]):
                await notification.execute(ADVANCE_FEEDS, users, SEQ_GAP)
                count += len(users)
    finally:
        await notification.close()
    return count


async def _users(url: str) -> AsyncIterator[list[object]]:
    auth = await connect("auth", url)
    try:
        async with auth.transaction(readonly=True):
            users: list[object] = []
            async for row in databases.rows(auth, "SELECT id FROM users ORDER BY id"):
                users.append(row["id"])
                if len(users) == USERS_AT_A_TIME:
                    yield users
                    users = []
            if users:
                yield users
    finally:
        await auth.close()


def _count(status: str) -> int:
    """The number of rows in a command's status, such as `UPDATE 3`."""
    return int(status.rpartition(" ")[2])
