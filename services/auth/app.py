"""Composition of the auth service's roles and jobs."""

from __future__ import annotations

from contextlib import AsyncExitStack

import structlog
from aiohttp import web

from services.auth import api, commands, retention
from services.auth.keyring import Keyring, WrongSecret
from services.auth.passwords import Hashing
from services.auth.rules.known_locations import LocationHasher
from services.auth.rules.probes import Probes
from services.auth.rules.user import Role
from services.auth.settings import AuthSettings, GrantSettings, MigrateSettings, RotateSettings
from services.auth.wakeup import Wakeup
from services.chassis import database, migrations, readiness, server
from services.chassis.database import CommitUnknown, DatabaseUnavailable, LockTimeout, Pool, PostgresError
from services.chassis.roles import JobFailed, Runtime
from services.chassis.service_tokens import TokenVerifier
from services.contracts.messages import format_time
from services.contracts.refusals.auth import LastOperator, UserNotFound

GRANT_ARGUMENTS = 2

# Without statistics, as for a table that was just created, the planner chooses a sequential scan.
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
        await readiness.register(runtime, pool, read_pool).wait(runtime, serves=True)
        hashing = Hashing()
        stack.callback(hashing.close)
        wakeup = Wakeup(settings.redis_url.get_secret_value() if settings.redis_url else None)
        stack.push_async_callback(wakeup.close)
        keyring = Keyring(settings.auth_secret.get_secret_value())
        await _open_signing_key(pool, keyring)
        verifier = TokenVerifier(settings.identity_keys.public_keys, audience="auth")
        locations = LocationHasher(settings.auth_secret.get_secret_value())
        secret = settings.canary_secret
        app = application(
            pool,
            read_pool,
            keyring,
            hashing=hashing,
            wakeup=wakeup,
            locations=locations,
            probes=Probes(secret.get_secret_value() if secret else None),
            verifier=verifier,
        )
        removing = retention.Retention(read_pool, days=settings.session_retention_days)
        runtime.run_beside(stack, removing.run(runtime))
        await server.serve(app, runtime, host=settings.host, port=settings.auth_port)


def application(
    pool: Pool,
    read_pool: Pool,
    keyring: Keyring,
    *,
    hashing: Hashing,
    wakeup: Wakeup,
    locations: LocationHasher,
    probes: Probes,
    verifier: TokenVerifier,
) -> web.Application:
    """The application. The caller opens and closes its resources."""
    app = server.application("auth")
    app[api.POOL] = pool
    app[api.READ_POOL] = read_pool
    app[api.KEYRING] = keyring
    app[api.HASHING] = hashing
    app[api.WAKEUP] = wakeup
    app[api.LOCATIONS] = locations
    app[api.PROBES] = probes
    api.add_routes(app, verifier)
    return app


async def migrate(settings: MigrateSettings, _arguments: list[str]) -> None:
    """Bring the database to the newest revision."""
    await migrations.migrate("auth", settings.auth_owner_database_url.get_secret_value())


async def grant(settings: GrantSettings, arguments: list[str]) -> None:
    """`grant EMAIL ROLE`: set the role of a user, and print one line.

    Raises:
        JobFailed: wrong usage, unknown role, unknown user, or the database is unavailable.
    """
    if len(arguments) != GRANT_ARGUMENTS:
        raise JobFailed(f"usage: python -m services.auth grant EMAIL {{{'|'.join(Role)}}}")
    email, name = arguments
    if name not in list(Role):
        raise JobFailed(f"unknown role; use one of {', '.join(Role)}")
    pool = await database.open_pool(settings.auth_database_url.get_secret_value(), name="auth-grant", size_max=1)
    try:
        done = await commands.users.grant_role(pool, email=email, role=Role(name))
    except UserNotFound:
        raise JobFailed("no user is registered with that e-mail address") from None
    except LastOperator as refusal:
        raise JobFailed(refusal.title()) from None
    except CommitUnknown:
        raise JobFailed("it is unknown whether the role was granted; run this command again") from None
    except (DatabaseUnavailable, LockTimeout, PostgresError) as error:
        raise JobFailed(f"cannot grant: {str(error).splitlines()[0]}") from None
    finally:
        await database.close_pool(pool)
    # Without the e-mail address: the output of a job may be logged.
    print(  # noqa: T201 - output of a job
        f"user {done.user.id} has the role {name} (before: {done.before}; sessions ended: {done.sessions_ended})"
    )


async def rotate_keys(settings: RotateSettings, _arguments: list[str]) -> None:
    """`rotate-keys`: publish a new key for access tokens, and print when it signs.

    Raises:
        JobFailed: the database is unavailable, or its keys were sealed with another secret.
    """
    pool = await database.open_pool(settings.auth_database_url.get_secret_value(), name="auth-rotate-keys", size_max=1)
    keyring = Keyring(settings.auth_secret.get_secret_value())
    try:
        rotation = await commands.signing_keys.rotate_keys(pool, keyring, operator_id=None)
    except CommitUnknown:
        raise JobFailed("it is unknown whether a key was published; run this command again") from None
    except (DatabaseUnavailable, LockTimeout, PostgresError, WrongSecret) as error:
        raise JobFailed(f"cannot rotate: {str(error).splitlines()[0]}") from None
    finally:
        await database.close_pool(pool)
    key = rotation.keys[-1]
    made = "is published" if rotation.is_new else "was published before and does not sign yet"
    print(f"key {key.kid} {made}; it signs from {format_time(key.signs_from)} on")  # noqa: T201 - output of a job


async def _open_signing_key(pool: Pool, keyring: Keyring) -> None:
    """Create the first key, and fail at start, rather than at the first login, if the secret is wrong."""
    try:
        await commands.signing_keys.list_keys(pool, keyring)
    except DatabaseUnavailable:
        log.warning("signing_key_not_opened", reason="the database is unavailable; the key is opened on demand")
