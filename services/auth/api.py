"""The auth service's internal routes: parse, command, render."""

from __future__ import annotations

from aiohttp import web

from services.auth import commands, schemas
from services.auth.bell import Bell
from services.auth.errors import InvalidParameter, UserNotFound
from services.auth.keys import Vault
from services.auth.passwords import Hashing
from services.chassis.body import read_json, validate, validate_json
from services.chassis.database import Pool
from services.chassis.server import callers
from services.chassis.service_tokens import TokenVerifier
from services.contracts.identifiers import parse_id

POOL: web.AppKey[Pool] = web.AppKey("pool")
VAULT: web.AppKey[Vault] = web.AppKey("vault")
HASHING: web.AppKey[Hashing] = web.AppKey("hashing")
BELL: web.AppKey[Bell] = web.AppKey("bell")

SEQ_MAX = 2**63 - 1


def add_routes(app: web.Application, verifier: TokenVerifier) -> None:
    """Each route with the identities that may call it."""
    gateway = callers(verifier, ["gateway"])
    resolvers = callers(verifier, ["gateway", "transaction"])
    deliver = callers(verifier, ["notification-deliver"])
    app.add_routes(
        [
            web.post("/internal/register", gateway(register)),
            web.post("/internal/login", gateway(log_in)),
            web.post("/internal/refresh", gateway(refresh)),
            web.post("/internal/logout", gateway(log_out)),
            web.get("/internal/users/{id}", gateway(get_user)),
            web.get("/internal/jwks", gateway(list_keys)),
            web.get("/internal/revocations", gateway(list_revocations)),
            web.post("/internal/recipients", resolvers(find_recipients)),
            web.post("/internal/names", gateway(find_names)),
            web.post("/internal/contacts", deliver(find_contacts)),
        ]
    )


async def register(request: web.Request) -> web.Response:
    """Make a user and log them in."""
    asked = validate(schemas.REGISTER, await read_json(request))
    session = await commands.register(
        request.app[POOL],
        request.app[VAULT],
        request.app[HASHING],
        email=asked.email,
        password=asked.password,
        name=asked.name,
    )
    return web.json_response(schemas.render_session(session.user, session.pair), status=201)


async def log_in(request: web.Request) -> web.Response:
    """Open a session."""
    asked = validate(schemas.LOGIN, await read_json(request))
    session = await commands.log_in(
        request.app[POOL], request.app[VAULT], request.app[HASHING], email=asked.email, password=asked.password
    )
    return web.json_response(schemas.render_session(session.user, session.pair))


async def refresh(request: web.Request) -> web.Response:
    """Trade a refresh token for a new pair."""
    asked = validate(schemas.REFRESH, await read_json(request))
    session = await commands.refresh(
        request.app[POOL], request.app[VAULT], request.app[BELL], refresh_token=asked.refresh_token
    )
    return web.json_response(schemas.render_session(session.user, session.pair))


async def log_out(request: web.Request) -> web.Response:
    """End a session; one that has ended already is fine."""
    asked = validate(schemas.LOGOUT, await read_json(request))
    await commands.log_out(request.app[POOL], request.app[BELL], session_id=asked.session_id, user_id=asked.user_id)
    return web.Response(status=204)


async def get_user(request: web.Request) -> web.Response:
    """One user."""
    user_id = parse_id(request.match_info["id"])
    if user_id is None:
        raise UserNotFound
    return web.json_response(schemas.render_user(await commands.get_user(request.app[POOL], user_id)))


async def list_keys(request: web.Request) -> web.Response:
    """The public keys of access tokens."""
    return web.json_response(schemas.render_keys(await commands.list_keys(request.app[POOL], request.app[VAULT])))


async def list_revocations(request: web.Request) -> web.Response:
    """The sessions that ended after a number."""
    feed = await commands.list_revocations(request.app[POOL], after=_after(request))
    return web.json_response(schemas.render_revocations(feed.items, feed.following))


async def find_recipients(request: web.Request) -> web.Response:
    """Who is registered with these addresses."""
    asked = validate_json(schemas.EMAILS, await request.read())
    return web.json_response(schemas.render_recipients(await commands.find_recipients(request.app[POOL], asked.emails)))


async def find_names(request: web.Request) -> web.Response:
    """What these users are called."""
    asked = validate_json(schemas.IDS, await request.read())
    return web.json_response(schemas.render_names(await commands.find_users(request.app[POOL], asked.ids)))


async def find_contacts(request: web.Request) -> web.Response:
    """Where these users are reached."""
    asked = validate_json(schemas.IDS, await request.read())
    return web.json_response(schemas.render_contacts(await commands.find_users(request.app[POOL], asked.ids)))


def _after(request: web.Request) -> int:
    text = request.query.get("after", "0")
    if not (text.isascii() and text.isdigit()) or len(text) > len(str(SEQ_MAX)) or int(text) > SEQ_MAX:
        raise InvalidParameter("after", "must be a number of the feed, 0 to start")
    return int(text)
