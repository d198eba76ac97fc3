"""Composition of the auth service's roles and jobs."""

from __future__ import annotations

from contextlib import AsyncExitStack

import structlog
from aiohttp import web

from services.auth import api, commands
from services.auth.errors import LastOperator, UserNotFound
from services.auth.keyring import Vault, WrongSecret
from services.auth.passwords import Hashing
from services.auth.rules.known_locations import Places
from services.auth.rules.user import Role
from services.auth.settings import AuthSettings, GrantSettings, MigrateSettings, RotateSettings
from services.auth.wakeup import Wakeup
from services.chassis import database, migrations, readiness, server
from services.chassis.database import CommitUnknown, DatabaseUnavailable, LockTimeout, Pool, PostgresError
from services.chassis.roles import JobFailed, Runtime
from services.chassis.service_tokens import TokenVerifier
from services.contracts.messages import format_time

GRANT_ARGUMENTS = 2

# For a table that was just created, or without statistics, the planner's estimate is a sequential scan.
READ_SETTINGS = {"enable_seqscan": "off", "jit": "off"} | database.READ_LIMITS

log = structlog.get_logger()


async def serve_api(settings: AuthSettings, runtime: Runtime) -> None:
    """The api role: every route of the auth service."""
    async with AsyncExitStack() as stack:
        pool, read_pool = await database.open_service_pools(
            stack,
            settings.auth_database_url.get_secret_value(),
            name=runtime.instance,
            size_max=settings.auth_pool_size_max,
            read_size_max=settings.auth_read_pool_size_max,
            read_settings=READ_SETTINGS,
        )
        runtime.health.register("postgres", readiness.Readiness(pool, read_pool).ping)
        hashing = Hashing()
        stack.callback(hashing.close)
        wakeup = Wakeup(settings.redis_url.get_secret_value() if settings.redis_url else None)
        stack.push_async_callback(wakeup.close)
        vault = Vault(settings.auth_secret.get_secret_value())
        await _open_signing_key(pool, vault)
        verifier = TokenVerifier(settings.identity_keys.public_keys, audience="auth")
        places = Places(settings.auth_secret.get_secret_value())
        app = application(pool, read_pool, vault, hashing=hashing, wakeup=wakeup, places=places, verifier=verifier)
        await server.serve(app, runtime, host=settings.host, port=settings.auth_port)


def application(
    pool: Pool,
    read_pool: Pool,
    vault: Vault,
    *,
    hashing: Hashing,
    wakeup: Wakeup,
    places: Places,
    verifier: TokenVerifier,
) -> web.Application:
    """The application over what it needs; whoever opened these closes them."""
    app = server.application("auth")
    app[api.POOL] = pool
    app[api.READ_POOL] = read_pool
    app[api.VAULT] = vault
    app[api.HASHING] = hashing
    app[api.WAKEUP] = wakeup
    app[api.PLACES] = places
    api.add_routes(app, verifier)
    return app


async def migrate(settings: MigrateSettings, _arguments: list[str]) -> None:
    """Bring the database to the newest revision."""
    await migrations.migrate("auth", settings.auth_owner_database_url.get_secret_value())


async def grant(settings: GrantSettings, arguments: list[str]) -> None:
    """`grant EMAIL ROLE`: give a user a role, and say so in one line.

    Raises:
        JobFailed: usage, no such role, nobody with that address, or the database is away.
    """
    if len(arguments) != GRANT_ARGUMENTS:
        raise JobFailed(f"usage: python -m services.auth grant EMAIL {{{'|'.join(Role)}}}")
    email, name = arguments
    if name not in list(Role):
        raise JobFailed(f"there is no role of that name; there are {', '.join(Role)}")
    pool = await database.open_pool(settings.auth_database_url.get_secret_value(), name="auth-grant", size_max=1)
    try:
        done = await commands.accounts.grant_role(pool, email=email, role=Role(name))
    except UserNotFound:
        raise JobFailed("nobody is registered with that e-mail address") from None
    except LastOperator as refusal:
        raise JobFailed(refusal.title()) from None
    except CommitUnknown:
        raise JobFailed("it is not known whether the role was granted: run this command again") from None
    except (DatabaseUnavailable, LockTimeout, PostgresError) as error:
        raise JobFailed(f"cannot grant: {str(error).splitlines()[0]}") from None
    finally:
        await database.close_pool(pool)
    # The address stays out: what a job prints ends in logs.
    print(  # noqa: T201 - the answer to the person at the terminal
        f"user {done.user.id} has the role {name} (before: {done.before}; sessions ended: {done.sessions_ended})"
    )


async def rotate_keys(settings: RotateSettings, _arguments: list[str]) -> None:
    """`rotate-keys`: publish a new key for access tokens, and say in one line when it signs.

    Raises:
        JobFailed: the database is away, or its keys were sealed with another secret.
    """
    pool = await database.open_pool(settings.auth_database_url.get_secret_value(), name="auth-rotate-keys", size_max=1)
    vault = Vault(settings.auth_secret.get_secret_value())
    try:
        rotation = await commands.signing_keys.rotate_keys(pool, vault, operator_id=None)
    except CommitUnknown:
        raise JobFailed("it is not known whether a key was published: run this command again") from None
    except (DatabaseUnavailable, LockTimeout, PostgresError, WrongSecret) as error:
        raise JobFailed(f"cannot rotate: {str(error).splitlines()[0]}") from None
    finally:
        await database.close_pool(pool)
    key = rotation.keys[-1]
    made = "is published" if rotation.is_new else "was published before and still waits"
    print(f"key {key.kid} {made}; it signs from {format_time(key.signs_from)} on")  # noqa: T201 - to the person


async def _open_signing_key(pool: Pool, vault: Vault) -> None:
    """Make the first key, and notification now rather than at the first login that the secret is not the right one."""
    try:
        await commands.signing_keys.list_keys(pool, vault)
    except DatabaseUnavailable:
        log.warning("signing_key_not_opened", reason="the database is away; it is opened on demand")
