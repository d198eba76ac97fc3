"""The auth service's internal routes: parse, command, render."""

from __future__ import annotations

from uuid import UUID

from aiohttp import web

from services.auth import commands, schemas
from services.auth.errors import ApiKeyNotFound, InvalidParameter, UserNotFound
from services.auth.keyring import Vault
from services.auth.passwords import Hashing
from services.auth.rules.known_locations import Places
from services.auth.wakeup import Wakeup
from services.chassis import audit
from services.chassis.body import read_json, validate, validate_json
from services.chassis.database import Pool
from services.chassis.server import callers
from services.chassis.service_tokens import TokenVerifier
from services.contracts.identifiers import parse_id

POOL: web.AppKey[Pool] = web.AppKey("pool")
READ_POOL: web.AppKey[Pool] = web.AppKey("read_pool")
"""Of what users and operators list: logins, API keys and revocations do not wait for these connections."""
VAULT: web.AppKey[Vault] = web.AppKey("vault")
HASHING: web.AppKey[Hashing] = web.AppKey("hashing")
WAKEUP: web.AppKey[Wakeup] = web.AppKey("wakeup")
PLACES: web.AppKey[Places] = web.AppKey("places")

SEQ_MAX = 2**63 - 1
PAGE_LIMIT = 50
PAGE_LIMIT_MAX = 200
NEWEST = UUID(int=2**128 - 1)
"""Above every id: where a list begins that is newest first."""

LEASE_SECONDS = 60.0
"""How long a claimed letter is left to its sender."""


def add_routes(app: web.Application, verifier: TokenVerifier) -> None:
    """Each route with the identities that may call it."""
    gateway = callers(verifier, ["gateway"])
    resolvers = callers(verifier, ["gateway", "transaction"])
    deliver = callers(verifier, ["notification-deliver"])
    app.add_routes(
        [
            web.post("/internal/register", gateway(register)),
            web.post("/internal/login", gateway(log_in)),
            web.post("/internal/places", gateway(find_place)),
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
            web.post("/internal/email/verification", gateway(ask_verification)),
            web.post("/internal/password/forgot", gateway(ask_password_reset)),
            web.post("/internal/password/reset", gateway(reset_password)),
            web.post("/internal/letters/claim", deliver(claim_letters)),
            web.post("/internal/letters/settle", deliver(settle_letter)),
            web.post("/internal/letters/release", deliver(release_letters)),
            web.get("/internal/audit", gateway(audit.reader(READ_POOL, audit.statements.list_audit))),
            web.post("/internal/api-keys", gateway(create_api_key)),
            web.get("/internal/api-keys", gateway(list_api_keys)),
            web.delete("/internal/api-keys/{id}", gateway(revoke_api_key)),
            web.post("/internal/api-keys/verify", gateway(verify_api_key)),
        ]
    )


async def register(request: web.Request) -> web.Response:
    """Make a user and log them in."""
    asked = validate(schemas.REGISTER, await read_json(request))
    session = await commands.accounts.register(
        request.app[POOL],
        request.app[VAULT],
        request.app[HASHING],
        email=asked.email,
        password=asked.password,
        name=asked.name,
        user_agent=asked.user_agent,
        place=_place(request, asked.email, asked.address),
    )
    return web.json_response(schemas.render_session(session.user, session.pair), status=201)


async def log_in(request: web.Request) -> web.Response:
    """Open a session."""
    asked = validate(schemas.LOGIN, await read_json(request))
    session = await commands.accounts.log_in(
        request.app[POOL],
        request.app[VAULT],
        request.app[HASHING],
        request.app[WAKEUP],
        email=asked.email,
        password=asked.password,
        totp=asked.totp,
        user_agent=asked.user_agent,
        place=_place(request, asked.email, asked.address),
    )
    return web.json_response(schemas.render_session(session.user, session.pair))


async def find_place(request: web.Request) -> web.Response:
    """Whether this account logged in from this address lately."""
    asked = validate(schemas.PLACE, await read_json(request))
    place = request.app[PLACES].name(asked.email, asked.address)
    return web.json_response({"known": await commands.known_locations.is_known(request.app[POOL], place)})


async def refresh(request: web.Request) -> web.Response:
    """Trade a refresh token for a new pair."""
    asked = validate(schemas.REFRESH, await read_json(request))
    session = await commands.accounts.refresh(
        request.app[POOL], request.app[VAULT], request.app[WAKEUP], refresh_token=asked.refresh_token
    )
    return web.json_response(schemas.render_session(session.user, session.pair))


async def log_out(request: web.Request) -> web.Response:
    """End a session; one that has ended already is fine."""
    asked = validate(schemas.LOGOUT, await read_json(request))
    await commands.accounts.log_out(
        request.app[POOL], request.app[WAKEUP], session_id=asked.session_id, user_id=asked.user_id
    )
    return web.Response(status=204)


async def change_password(request: web.Request) -> web.Response:
    """Another password: every session ends, and who changed it gets a new one."""
    asked = validate(schemas.CHANGE_PASSWORD, await read_json(request))
    session = await commands.passwords.change_password(
        request.app[POOL],
        request.app[VAULT],
        request.app[HASHING],
        request.app[WAKEUP],
        user_id=asked.user_id,
        current_password=asked.current_password,
        new_password=asked.new_password,
        totp=asked.totp,
        user_agent=asked.user_agent,
    )
    return web.json_response(schemas.render_session(session.user, session.pair))


async def list_sessions(request: web.Request) -> web.Response:
    """A user's sessions that go on."""
    limit = _limit(request)
    found = await commands.sessions.list_sessions(
        request.app[READ_POOL], user_id=_user_id(request), below=_below(request), limit=limit + 1
    )
    return web.json_response(schemas.render_sessions(found, limit=limit))


async def end_session(request: web.Request) -> web.Response:
    """End one session of a user."""
    asked = validate(schemas.OF_SESSION, await read_json(request))
    await commands.sessions.end_session(
        request.app[POOL], request.app[WAKEUP], user_id=asked.user_id, session_id=asked.session_id
    )
    return web.Response(status=204)


async def end_other_sessions(request: web.Request) -> web.Response:
    """End every session of a user but one."""
    asked = validate(schemas.OF_SESSION, await read_json(request))
    await commands.sessions.end_other_sessions(
        request.app[POOL], request.app[WAKEUP], user_id=asked.user_id, keep=asked.session_id
    )
    return web.Response(status=204)


async def start_totp(request: web.Request) -> web.Response:
    """Propose a second factor."""
    asked = validate(schemas.START_TOTP, await read_json(request))
    proposal = await commands.totp.start_totp(
        request.app[POOL], request.app[VAULT], request.app[HASHING], user_id=asked.user_id, password=asked.password
    )
    return web.json_response(schemas.render_proposal(proposal))


async def confirm_totp(request: web.Request) -> web.Response:
    """Turn the second factor on."""
    asked = validate(schemas.CONFIRM_TOTP, await read_json(request))
    codes = await commands.totp.confirm_totp(
        request.app[POOL], request.app[VAULT], user_id=asked.user_id, code=asked.code
    )
    return web.json_response(schemas.render_recovery_codes(codes))


async def remove_totp(request: web.Request) -> web.Response:
    """Turn the second factor off."""
    asked = validate(schemas.PROVE_TOTP, await read_json(request))
    await commands.totp.remove_totp(
        request.app[POOL],
        request.app[VAULT],
        request.app[HASHING],
        user_id=asked.user_id,
        password=asked.password,
        code=asked.totp,
    )
    return web.Response(status=204)


async def renew_recovery_codes(request: web.Request) -> web.Response:
    """Other recovery codes."""
    asked = validate(schemas.PROVE_TOTP, await read_json(request))
    codes = await commands.totp.renew_recovery_codes(
        request.app[POOL],
        request.app[VAULT],
        request.app[HASHING],
        user_id=asked.user_id,
        password=asked.password,
        code=asked.totp,
    )
    return web.json_response(schemas.render_recovery_codes(codes))


async def get_user(request: web.Request) -> web.Response:
    """One user."""
    return web.json_response(
        schemas.render_user(await commands.accounts.get_user(request.app[POOL], _user_id(request)))
    )


async def find_account(request: web.Request) -> web.Response:
    """One user, as operators see them."""
    asked = validate(schemas.OF_EMAIL, await read_json(request))
    return web.json_response(
        schemas.render_account(await commands.users.find_account(request.app[READ_POOL], email=asked.email))
    )


async def set_role(request: web.Request) -> web.Response:
    """Give a user a role."""
    asked = validate(schemas.SET_ROLE, await read_json(request))
    account = await commands.users.set_role(
        request.app[POOL],
        request.app[WAKEUP],
        user_id=_user_id(request),
        role=asked.role,
        operator_id=asked.operator_id,
    )
    return web.json_response(schemas.render_account(account))


async def disable_user(request: web.Request) -> web.Response:
    """Let nobody in as this user."""
    asked = validate(schemas.DISABLE, await read_json(request))
    account = await commands.users.disable_user(
        request.app[POOL],
        request.app[WAKEUP],
        user_id=_user_id(request),
        reason=asked.reason,
        operator_id=asked.operator_id,
    )
    return web.json_response(schemas.render_account(account))


async def enable_user(request: web.Request) -> web.Response:
    """Let a user in again."""
    asked = validate(schemas.BY_OPERATOR, await read_json(request))
    account = await commands.users.enable_user(
        request.app[POOL], user_id=_user_id(request), operator_id=asked.operator_id
    )
    return web.json_response(schemas.render_account(account))


async def list_keys(request: web.Request) -> web.Response:
    """The public keys of access tokens."""
    stored = await commands.signing_keys.list_keys(request.app[POOL], request.app[VAULT])
    return web.json_response(schemas.render_keys(stored))


async def list_all_keys(request: web.Request) -> web.Response:
    """The keys of access tokens, as operators see them."""
    return web.json_response(schemas.render_key_facts(await commands.signing_keys.list_all_keys(request.app[POOL])))


async def rotate_keys(request: web.Request) -> web.Response:
    """Publish a new key, which signs a little later."""
    asked = validate(schemas.BY_OPERATOR, await read_json(request))
    rotation = await commands.signing_keys.rotate_keys(
        request.app[POOL], request.app[VAULT], operator_id=asked.operator_id
    )
    return web.json_response(
        schemas.render_key_facts(rotation.keys) | {"rotated": rotation.is_new}, status=201 if rotation.is_new else 200
    )


async def list_revocations(request: web.Request) -> web.Response:
    """The sessions and API keys that ended after a number."""
    feed = await commands.accounts.list_revocations(request.app[POOL], after=_after(request))
    return web.json_response(schemas.render_revocations(feed.items, feed.following, feed.now))


async def find_recipients(request: web.Request) -> web.Response:
    """Who is registered with these addresses."""
    asked = validate_json(schemas.EMAILS, await request.read())
    return web.json_response(
        schemas.render_recipients(await commands.accounts.find_recipients(request.app[POOL], asked.emails))
    )


async def find_names(request: web.Request) -> web.Response:
    """What these users are called."""
    asked = validate_json(schemas.IDS, await request.read())
    return web.json_response(
        schemas.render_names(await commands.accounts.find_users(request.app[READ_POOL], asked.ids))
    )


async def find_contacts(request: web.Request) -> web.Response:
    """Where these users are reached."""
    asked = validate_json(schemas.IDS, await request.read())
    return web.json_response(schemas.render_contacts(await commands.accounts.find_users(request.app[POOL], asked.ids)))


async def verify_email(request: web.Request) -> web.Response:
    """Believe that an address is read by its user."""
    asked = validate(schemas.LETTER_TOKEN, await read_json(request))
    await commands.emails.verify_email(request.app[POOL], token=asked.token)
    return web.Response(status=204)


async def ask_verification(request: web.Request) -> web.Response:
    """Another letter to verify an address."""
    asked = validate(schemas.VERIFICATION_WANTED, await read_json(request))
    await commands.emails.ask_verification(request.app[POOL], request.app[VAULT], user_id=asked.user_id)
    return web.Response(status=202)


async def ask_password_reset(request: web.Request) -> web.Response:
    """A letter to whoever owns an address; nobody learns whether somebody does."""
    asked = validate(schemas.FORGOT, await read_json(request))
    await commands.emails.ask_password_reset(request.app[POOL], request.app[VAULT], email=asked.email)
    return web.Response(status=202)


async def reset_password(request: web.Request) -> web.Response:
    """Another password; tells which sessions it ended."""
    asked = validate(schemas.RESET, await read_json(request))
    ended = await commands.emails.reset_password(
        request.app[POOL],
        request.app[VAULT],
        request.app[HASHING],
        request.app[WAKEUP],
        token=asked.token,
        new_password=asked.new_password,
    )
    return web.json_response({"ended": [str(session_id) for session_id in ended]})


async def claim_letters(request: web.Request) -> web.Response:
    """Letters to send, under a lease."""
    asked = validate(schemas.CLAIM, await read_json(request))
    claimed = await commands.emails.claim_letters(
        request.app[POOL], request.app[VAULT], limit=asked.limit, lease_seconds=LEASE_SECONDS
    )
    return web.json_response(schemas.render_letters(claimed, LEASE_SECONDS))


async def settle_letter(request: web.Request) -> web.Response:
    """What became of a letter."""
    asked = validate(schemas.SETTLE, await read_json(request))
    pool = request.app[POOL]
    if asked.outcome == "sent":
        await commands.emails.mark_letter_sent(pool, asked.id)
    elif asked.outcome == "retried":
        await commands.emails.delay_letter(pool, asked.id, seconds=asked.seconds, error=asked.error)
    else:
        await commands.emails.give_letter_up(pool, asked.id, error=asked.error)
    return web.Response(status=204)


async def release_letters(request: web.Request) -> web.Response:
    """Letters that were not tried go back."""
    asked = validate(schemas.IDS, await read_json(request))
    await commands.emails.release_letters(request.app[POOL], asked.ids)
    return web.Response(status=204)


async def create_api_key(request: web.Request) -> web.Response:
    """Make a key; the answer is the only place where it is told."""
    asked = validate(schemas.NEW_API_KEY, await read_json(request))
    created = await commands.api_keys.create_api_key(
        request.app[POOL],
        request.app[VAULT],
        request.app[HASHING],
        user_id=asked.user_id,
        session_id=asked.session_id,
        password=asked.password,
        totp=asked.totp,
        name=asked.name,
        scopes=asked.scopes,
        expires_at=asked.expires_at,
    )
    return web.json_response(schemas.render_new_api_key(created.listed, created.text), status=201)


async def list_api_keys(request: web.Request) -> web.Response:
    """A user's keys."""
    asked = validate(schemas.OWNER, dict(request.query))
    keys = await commands.api_keys.list_api_keys(request.app[READ_POOL], asked.user_id)
    return web.json_response({"items": [schemas.render_api_key(key) for key in keys]})


async def revoke_api_key(request: web.Request) -> web.Response:
    """End a key of a user."""
    asked = validate(schemas.OWNER, dict(request.query))
    key_id = parse_id(request.match_info["id"])
    if key_id is None:
        raise ApiKeyNotFound
    await commands.api_keys.revoke_api_key(request.app[POOL], request.app[WAKEUP], key_id=key_id, user_id=asked.user_id)
    return web.Response(status=204)


async def verify_api_key(request: web.Request) -> web.Response:
    """Whom a key speaks for, asked by its hash: the key itself stays at the gateway."""
    asked = validate(schemas.KEY_HASH, await read_json(request))
    used = await commands.api_keys.verify_api_key(request.app[POOL], asked.hash)
    return web.json_response(schemas.render_used_api_key(used))


def _user_id(request: web.Request) -> UUID:
    user_id = parse_id(request.match_info["id"])
    if user_id is None:
        raise UserNotFound
    return user_id


def _limit(request: web.Request) -> int:
    text = request.query.get("limit", str(PAGE_LIMIT))
    if not (text.isascii() and text.isdigit()) or len(text) > len(str(PAGE_LIMIT_MAX)):
        raise InvalidParameter("limit", f"must be a number from 1 to {PAGE_LIMIT_MAX}")
    return min(max(int(text), 1), PAGE_LIMIT_MAX)


def _below(request: web.Request) -> UUID:
    if "cursor" not in request.query:
        return NEWEST
    cursor = parse_id(request.query["cursor"])
    if cursor is None:
        raise InvalidParameter("cursor", "is not a cursor of this list")
    return cursor


def _place(request: web.Request, email: str, address: str | None) -> bytes | None:
    return None if address is None else request.app[PLACES].name(email, address)


def _after(request: web.Request) -> int:
    text = request.query.get("after", "0")
    if not (text.isascii() and text.isdigit()) or len(text) > len(str(SEQ_MAX)) or int(text) > SEQ_MAX:
        raise InvalidParameter("after", "must be a number of the feed, 0 to start")
    return int(text)
