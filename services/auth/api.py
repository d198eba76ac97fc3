"""The auth service's internal routes: parse, command, render."""

from __future__ import annotations

from uuid import UUID

from aiohttp import web

from services.auth import commands, schemas
from services.auth.keyring import Keyring
from services.auth.passwords import Hashing
from services.auth.rules.known_locations import LocationHasher
from services.auth.rules.probes import Probes
from services.auth.wakeup import Wakeup
from services.chassis import audit
from services.chassis.body import path_id, read_json, validate, validate_json
from services.chassis.database import Pool
from services.chassis.server import callers
from services.chassis.service_tokens import TokenVerifier
from services.contracts.refusals.auth import ApiKeyNotFound, UserNotFound

POOL: web.AppKey[Pool] = web.AppKey("pool")
READ_POOL: web.AppKey[Pool] = web.AppKey("read_pool")
"""For lists; logins, API keys and revocations do not wait for these connections."""
KEYRING: web.AppKey[Keyring] = web.AppKey("keyring")
HASHING: web.AppKey[Hashing] = web.AppKey("hashing")
WAKEUP: web.AppKey[Wakeup] = web.AppKey("wakeup")
LOCATIONS: web.AppKey[LocationHasher] = web.AppKey("locations")
PROBES: web.AppKey[Probes] = web.AppKey("probes")


def add_routes(app: web.Application, verifier: TokenVerifier) -> None:
    """Add each route with the services that can call it."""
    gateway = callers(verifier, ["gateway"])
    resolvers = callers(verifier, ["gateway", "transaction"])
    deliver = callers(verifier, ["notification-deliver"])
    app.add_routes(
        [
            web.post("/internal/register", gateway(register)),
            web.post("/internal/login", gateway(log_in)),
            web.post("/internal/known-locations", gateway(find_known_location)),
            web.post("/internal/refresh", gateway(refresh)),
            web.post("/internal/logout", gateway(log_out)),
            web.post("/internal/password", gateway(change_password)),
            web.post("/internal/sessions/end", gateway(end_session)),
            web.post("/internal/sessions/end-others", gateway(end_other_sessions)),
            web.post("/internal/totp", gateway(start_totp)),
            web.delete("/internal/totp", gateway(remove_totp)),
            web.post("/internal/totp/confirm", gateway(confirm_totp)),
            web.post("/internal/totp/recovery-codes", gateway(renew_recovery_codes)),
            web.get("/internal/users/{id}", gateway(get_user)),
            web.get("/internal/users/{id}/sessions", gateway(list_sessions)),
            web.post("/internal/users/find", gateway(find_account)),
            web.put("/internal/users/{id}/role", gateway(set_role)),
            web.put("/internal/users/{id}/disable", gateway(disable_user)),
            web.delete("/internal/users/{id}/disable", gateway(enable_user)),
            web.get("/internal/keys", gateway(list_all_keys)),
            web.post("/internal/keys/rotate", gateway(rotate_keys)),
            web.get("/internal/jwks", gateway(list_keys)),
            web.get("/internal/revocations", gateway(list_revocations)),
            web.post("/internal/recipients", resolvers(find_recipients)),
            web.post("/internal/names", gateway(find_names)),
            web.post("/internal/contacts", deliver(find_contacts)),
            web.post("/internal/email/verify", gateway(verify_email)),
            web.post("/internal/email/verification", gateway(request_verification)),
            web.post("/internal/password/forgot", gateway(request_password_reset)),
            web.post("/internal/password/reset", gateway(reset_password)),
            web.post("/internal/emails/claim", deliver(claim_emails)),
            web.post("/internal/emails/mark", deliver(mark_email)),
            web.post("/internal/emails/release", deliver(release_emails)),
            web.get("/internal/audit", gateway(audit.reader(READ_POOL, audit.statements.list_audit))),
            web.post("/internal/api-keys", gateway(create_api_key)),
            web.get("/internal/api-keys", gateway(list_api_keys)),
            web.delete("/internal/api-keys/{id}", gateway(revoke_api_key)),
            web.post("/internal/api-keys/verify", gateway(verify_api_key)),
        ]
    )


async def register(request: web.Request) -> web.Response:
    """Register."""
    body = validate(schemas.REGISTER, await read_json(request))
    session = await commands.accounts.register(
        request.app[POOL],
        request.app[KEYRING],
        request.app[HASHING],
        probes=request.app[PROBES],
        email=body.email,
        password=body.password,
        name=body.name,
        user_agent=body.user_agent,
        location=_location(request, body.email, body.address),
    )
    return web.json_response(schemas.render_session(session.user, session.pair), status=201)


async def log_in(request: web.Request) -> web.Response:
    """Log in."""
    body = validate(schemas.LOGIN, await read_json(request))
    session = await commands.accounts.log_in(
        request.app[POOL],
        request.app[KEYRING],
        request.app[HASHING],
        wakeup=request.app[WAKEUP],
        email=body.email,
        password=body.password,
        totp=body.totp,
        user_agent=body.user_agent,
        location=_location(request, body.email, body.address),
    )
    return web.json_response(schemas.render_session(session.user, session.pair))


async def find_known_location(request: web.Request) -> web.Response:
    """Whether this account has recently logged in from this address."""
    body = validate(schemas.KNOWN_LOCATION, await read_json(request))
    location = request.app[LOCATIONS].hash(body.email, body.address)
    return web.json_response({"known": await commands.known_locations.is_known(request.app[POOL], location)})


async def refresh(request: web.Request) -> web.Response:
    """Refresh tokens."""
    body = validate(schemas.REFRESH, await read_json(request))
    session = await commands.sessions.refresh(
        request.app[POOL], request.app[KEYRING], request.app[WAKEUP], refresh_token=body.refresh_token
    )
    return web.json_response(schemas.render_session(session.user, session.pair))


async def log_out(request: web.Request) -> web.Response:
    """Log out. A session that has ended already is not an error."""
    body = validate(schemas.LOGOUT, await read_json(request))
    await commands.sessions.log_out(
        request.app[POOL], request.app[WAKEUP], session_id=body.session_id, user_id=body.user_id
    )
    return web.Response(status=204)


async def change_password(request: web.Request) -> web.Response:
    """Change a password; every session ends, and the response has a new one."""
    body = validate(schemas.CHANGE_PASSWORD, await read_json(request))
    session = await commands.passwords.change_password(
        request.app[POOL],
        request.app[KEYRING],
        request.app[HASHING],
        wakeup=request.app[WAKEUP],
        user_id=body.user_id,
        current_password=body.current_password,
        new_password=body.new_password,
        totp=body.totp,
        user_agent=body.user_agent,
    )
    return web.json_response(schemas.render_session(session.user, session.pair))


async def list_sessions(request: web.Request) -> web.Response:
    """List the live sessions of a user."""
    query = validate(schemas.SESSION_PAGE, dict(request.query))
    found = await commands.sessions.list_sessions(
        request.app[READ_POOL], user_id=_user_id(request), below=query.cursor, limit=query.limit + 1
    )
    return web.json_response(schemas.render_sessions(found, limit=query.limit))


async def end_session(request: web.Request) -> web.Response:
    """End a session of a user."""
    body = validate(schemas.USER_SESSION, await read_json(request))
    await commands.sessions.end_session(
        request.app[POOL], request.app[WAKEUP], user_id=body.user_id, session_id=body.session_id
    )
    return web.Response(status=204)


async def end_other_sessions(request: web.Request) -> web.Response:
    """End every session of a user except one."""
    body = validate(schemas.USER_SESSION, await read_json(request))
    await commands.sessions.end_other_sessions(
        request.app[POOL], request.app[WAKEUP], user_id=body.user_id, keep=body.session_id
    )
    return web.Response(status=204)


async def start_totp(request: web.Request) -> web.Response:
    """Start to set up a second factor."""
    body = validate(schemas.START_TOTP, await read_json(request))
    proposal = await commands.totp.start_totp(
        request.app[POOL], request.app[KEYRING], request.app[HASHING], user_id=body.user_id, password=body.password
    )
    return web.json_response(schemas.render_proposal(proposal))


async def confirm_totp(request: web.Request) -> web.Response:
    """Enable the second factor."""
    body = validate(schemas.CONFIRM_TOTP, await read_json(request))
    codes = await commands.totp.confirm_totp(
        request.app[POOL], request.app[KEYRING], user_id=body.user_id, code=body.code
    )
    return web.json_response(schemas.render_recovery_codes(codes))


async def remove_totp(request: web.Request) -> web.Response:
    """Disable the second factor."""
    body = validate(schemas.PROVE_TOTP, await read_json(request))
    await commands.totp.remove_totp(
        request.app[POOL],
        request.app[KEYRING],
        request.app[HASHING],
        user_id=body.user_id,
        password=body.password,
        code=body.totp,
    )
    return web.Response(status=204)


async def renew_recovery_codes(request: web.Request) -> web.Response:
    """Replace the recovery codes."""
    body = validate(schemas.PROVE_TOTP, await read_json(request))
    codes = await commands.totp.renew_recovery_codes(
        request.app[POOL],
        request.app[KEYRING],
        request.app[HASHING],
        user_id=body.user_id,
        password=body.password,
        code=body.totp,
    )
    return web.json_response(schemas.render_recovery_codes(codes))


async def get_user(request: web.Request) -> web.Response:
    """Get a user."""
    return web.json_response(schemas.render_user(await commands.users.get_user(request.app[POOL], _user_id(request))))


async def find_account(request: web.Request) -> web.Response:
    """Find an account."""
    body = validate(schemas.FIND_ACCOUNT, await read_json(request))
    return web.json_response(
        schemas.render_account(await commands.users.find_account(request.app[READ_POOL], email=body.email))
    )


async def set_role(request: web.Request) -> web.Response:
    """Set the role of a user."""
    body = validate(schemas.SET_ROLE, await read_json(request))
    account = await commands.users.set_role(
        request.app[POOL],
        request.app[WAKEUP],
        user_id=_user_id(request),
        role=body.role,
        operator_id=body.operator_id,
    )
    return web.json_response(schemas.render_account(account))


async def disable_user(request: web.Request) -> web.Response:
    """Disable a user."""
    body = validate(schemas.DISABLE_USER, await read_json(request))
    account = await commands.users.disable_user(
        request.app[POOL],
        request.app[WAKEUP],
        user_id=_user_id(request),
        reason=body.reason,
        operator_id=body.operator_id,
    )
    return web.json_response(schemas.render_account(account))


async def enable_user(request: web.Request) -> web.Response:
    """Enable a user."""
    body = validate(schemas.BY_OPERATOR, await read_json(request))
    account = await commands.users.enable_user(
        request.app[POOL], user_id=_user_id(request), operator_id=body.operator_id
    )
    return web.json_response(schemas.render_account(account))


async def list_keys(request: web.Request) -> web.Response:
    """Get the public keys of access tokens."""
    stored = await commands.signing_keys.list_keys(request.app[POOL], request.app[KEYRING])
    return web.json_response(schemas.render_keys(stored))


async def list_all_keys(request: web.Request) -> web.Response:
    """List the keys of access tokens for operators."""
    return web.json_response(schemas.render_key_facts(await commands.signing_keys.list_all_keys(request.app[POOL])))


async def rotate_keys(request: web.Request) -> web.Response:
    """Publish a new signing key."""
    body = validate(schemas.BY_OPERATOR, await read_json(request))
    rotation = await commands.signing_keys.rotate_keys(
        request.app[POOL], request.app[KEYRING], operator_id=body.operator_id
    )
    return web.json_response(
        schemas.render_key_facts(rotation.keys) | {"rotated": rotation.is_new}, status=201 if rotation.is_new else 200
    )


async def list_revocations(request: web.Request) -> web.Response:
    """List revocations after a number."""
    query = validate(schemas.FEED_POSITION, dict(request.query))
    feed = await commands.sessions.list_revocations(request.app[POOL], after=query.after)
    return web.json_response(schemas.render_revocations(feed.items, feed.following, feed.now))


async def find_recipients(request: web.Request) -> web.Response:
    """Find recipients by e-mail address."""
    body = validate_json(schemas.FIND_RECIPIENTS, await request.read())
    return web.json_response(
        schemas.render_recipients(await commands.users.find_recipients(request.app[POOL], body.emails))
    )


async def find_names(request: web.Request) -> web.Response:
    """Find the names of users."""
    body = validate_json(schemas.IDS, await request.read())
    return web.json_response(schemas.render_names(await commands.users.find_users(request.app[READ_POOL], body.ids)))


async def find_contacts(request: web.Request) -> web.Response:
    """Find the names and addresses of users."""
    body = validate_json(schemas.IDS, await request.read())
    return web.json_response(schemas.render_contacts(await commands.users.find_users(request.app[POOL], body.ids)))


async def verify_email(request: web.Request) -> web.Response:
    """Confirm an e-mail address."""
    body = validate(schemas.EMAIL_TOKEN, await read_json(request))
    await commands.emails.verify_email(request.app[POOL], token=body.token)
    return web.Response(status=204)


async def request_verification(request: web.Request) -> web.Response:
    """Request another verification e-mail."""
    body = validate(schemas.REQUEST_VERIFICATION, await read_json(request))
    await commands.emails.request_verification(request.app[POOL], request.app[KEYRING], user_id=body.user_id)
    return web.Response(status=202)


async def request_password_reset(request: web.Request) -> web.Response:
    """Request a password reset e-mail. The response does not reveal whether the address is registered."""
    body = validate(schemas.FORGOT_PASSWORD, await read_json(request))
    await commands.emails.request_password_reset(request.app[POOL], request.app[KEYRING], email=body.email)
    return web.Response(status=202)


async def reset_password(request: web.Request) -> web.Response:
    """Reset a password; the response lists the revoked sessions and API keys."""
    body = validate(schemas.RESET_PASSWORD, await read_json(request))
    ended = await commands.emails.reset_password(
        request.app[POOL],
        request.app[KEYRING],
        request.app[HASHING],
        wakeup=request.app[WAKEUP],
        token=body.token,
        new_password=body.new_password,
    )
    return web.json_response({"ended": [str(session_id) for session_id in ended]})


async def claim_emails(request: web.Request) -> web.Response:
    """Claim e-mails to send, under a lease."""
    body = validate(schemas.CLAIM_EMAILS, await read_json(request))
    claimed = await commands.emails.claim_emails(
        request.app[POOL], request.app[KEYRING], limit=body.limit, lease_seconds=commands.emails.LEASE_SECONDS
    )
    return web.json_response(schemas.render_emails(claimed, commands.emails.LEASE_SECONDS))


async def mark_email(request: web.Request) -> web.Response:
    """Record the outcome of an attempt to send an e-mail."""
    body = validate(schemas.MARK_EMAIL, await read_json(request))
    pool = request.app[POOL]
    if body.outcome == "sent":
        await commands.emails.mark_email_sent(pool, body.id)
    elif body.outcome == "retried":
        await commands.emails.delay_email(pool, body.id, seconds=body.seconds, error=body.error)
    else:
        await commands.emails.abandon_email(pool, body.id, error=body.error)
    return web.Response(status=204)


async def release_emails(request: web.Request) -> web.Response:
    """Return claimed e-mails unsent."""
    body = validate(schemas.IDS, await read_json(request))
    await commands.emails.release_emails(request.app[POOL], body.ids)
    return web.Response(status=204)


async def create_api_key(request: web.Request) -> web.Response:
    """Create an API key; only this response contains it."""
    body = validate(schemas.NEW_API_KEY, await read_json(request))
    created = await commands.api_keys.create_api_key(
        request.app[POOL],
        request.app[KEYRING],
        request.app[HASHING],
        user_id=body.user_id,
        session_id=body.session_id,
        password=body.password,
        totp=body.totp,
        name=body.name,
        scopes=body.scopes,
        expires_at=body.expires_at,
    )
    return web.json_response(schemas.render_new_api_key(created.listed, created.text), status=201)


async def list_api_keys(request: web.Request) -> web.Response:
    """List the API keys of a user."""
    query = validate(schemas.OWNER, dict(request.query))
    keys = await commands.api_keys.list_api_keys(request.app[READ_POOL], query.user_id)
    return web.json_response({"items": [schemas.render_api_key(key) for key in keys]})


async def revoke_api_key(request: web.Request) -> web.Response:
    """Revoke an API key of a user."""
    query = validate(schemas.OWNER, dict(request.query))
    key_id = path_id(request, ApiKeyNotFound)
    await commands.api_keys.revoke_api_key(request.app[POOL], request.app[WAKEUP], key_id=key_id, user_id=query.user_id)
    return web.Response(status=204)


async def verify_api_key(request: web.Request) -> web.Response:
    """Verify an API key by its hash; the key itself stays at the gateway."""
    body = validate(schemas.KEY_HASH, await read_json(request))
    used = await commands.api_keys.verify_api_key(request.app[POOL], body.hash)
    return web.json_response(schemas.render_used_api_key(used))


def _user_id(request: web.Request) -> UUID:
    return path_id(request, UserNotFound)


def _location(request: web.Request, email: str, address: str | None) -> bytes | None:
    return None if address is None else request.app[LOCATIONS].hash(email, address)
