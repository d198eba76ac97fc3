"""Who is calling: the bearer token is verified here, by the keys that auth publishes, without asking anybody."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import jwt
import structlog
from aiohttp import web
from multidict import CIMultiDictProxy

from services.chassis.problems import Handler
from services.contracts.api_keys import Scope, looks_like_key
from services.contracts.identifiers import parse_id
from services.gateway import operations
from services.gateway.errors import InsufficientScope, InvalidToken, KeysAway, OperatorRequired, SessionRequired
from services.gateway.keys import Keys
from services.gateway.operations import Access, Operation
from services.gateway.sessions import Sessions

ISSUER = "payflow"
AUDIENCE = "payflow-api"
TOKEN_TYPE = "at+jwt"  # noqa: S105 - a media type
ALGORITHM = "EdDSA"
OPERATOR = "operator"

CLAIMS = ("exp", "iat", "sub", "jti", "sid")
TOKEN_LENGTH_MAX = 4096
LIFETIME_SECONDS_MAX = 600
CLOCK_SECONDS = 5
"""How far auth's clock may run ahead of ours."""

REMEMBERED_MAX = 20_000

log = structlog.get_logger()

_FOREIGN_HEADERS = frozenset({"jwk", "jku", "x5u", "x5c", "crit"})
"""Headers by which a token would tell how it wants to be verified. Ours never do."""


@dataclass(frozen=True, slots=True)
class Principal:
    """Who a verified token speaks for, and until when (Unix time).

    `session_id` is what is ended to end it: a session, or the API key itself. `scopes` are those of a key; None: a session.
    """

    user_id: str
    session_id: str
    role: str
    key_id: str
    expires_at: float
    scopes: frozenset[Scope] | None = None


PRINCIPAL: web.RequestKey[Principal] = web.RequestKey("principal", Principal)


class Tokens:
    """Verifies access tokens; what was verified once is remembered, by the whole token, and its end checked each time."""

    def __init__(self, keys: Keys, *, steady: Callable[[], float] = time.monotonic) -> None:
        """`steady` is the clock that never jumps."""
        self._keys = keys
        self._steady = steady
        self._remembered: dict[str, tuple[Principal, float]] = {}

    async def principal(self, token: str) -> Principal:
        """Who this token speaks for.

        Raises:
            InvalidToken: whatever is wrong with it.
            KeysAway: its key is not known here, and auth cannot be asked.
        """
        principal, forget_at = self._remembered.get(token, (None, 0.0))
        # By the clock that never jumps as well: a token that was verified must not live on when the other one is set back,
        # longer than it is remembered that its session has ended.
        if principal is None or forget_at <= self._steady():
            self._remembered.pop(token, None)
            principal = await self._verify(token)
            if len(self._remembered) >= REMEMBERED_MAX:
                del self._remembered[next(iter(self._remembered))]
            self._remembered[token] = principal, self._steady() + principal.expires_at - time.time()
        if principal.expires_at <= time.time() or not self._keys.has(principal.key_id):
            self._remembered.pop(token, None)
            raise InvalidToken
        return principal

    async def _verify(self, token: str) -> Principal:
        if not self._keys.are_known:
            raise KeysAway
        if len(token) > TOKEN_LENGTH_MAX:
            raise InvalidToken
        try:
            key_id = _key_id(jwt.get_unverified_header(token))
            key = await self._keys.find(key_id) if key_id is not None else None
            if key is None:
                # With auth away nobody can say whether there is such a key: a good token must not be called a bad one.
                raise KeysAway if key_id is not None and self._keys.is_away else InvalidToken
            claims = jwt.decode(
                token,
                key,
                algorithms=[ALGORITHM],
                audience=AUDIENCE,
                issuer=ISSUER,
                leeway=CLOCK_SECONDS,
                options={"require": list(CLAIMS)},
            )
        except (jwt.InvalidTokenError, ValueError):
            raise InvalidToken from None
        return _principal(claims, str(key_id))


def bearer(headers: CIMultiDictProxy[str]) -> str:
    """The token of the one `Authorization: Bearer` header.

    Raises:
        InvalidToken: there is none, more than one, or another scheme.
    """
    values = headers.getall("Authorization", ())
    scheme, _, token = values[0].partition(" ") if len(values) == 1 else ("", "", "")
    if scheme.lower() != "bearer" or not token:
        raise InvalidToken
    return token


class KeyRing(Protocol):
    """Whoever can tell whom an API key speaks for."""

    async def principal(self, key: str, request: web.Request) -> Principal:
        """Whom this key speaks for, or the refusal."""


def middleware(tokens: Tokens, sessions: Sessions, keys: KeyRing) -> Any:
    """Let through what is public, or who may; handlers find the principal in the request."""

    @web.middleware
    async def authenticate(request: web.Request, handler: Handler) -> web.StreamResponse:
        operation = operations.of(request)
        if operation is None or operation.access is Access.PUBLIC:
            return await handler(request)
        token = bearer(request.headers)
        principal = await (keys.principal(token, request) if looks_like_key(token) else tokens.principal(token))
        if not sessions.are_known:
            raise KeysAway
        if sessions.has_ended(principal.session_id):
            raise InvalidToken
        _authorise(operation, principal)
        request[PRINCIPAL] = principal
        if operation.access is Access.OPERATOR:
            # What operators do is in the audit log; that they looked at what is others', here.
            log.info("operator_let_in", operator_id=principal.user_id, method=request.method, path=request.path)
        return await handler(request)

    return authenticate


def _authorise(operation: Operation, principal: Principal) -> None:
    if principal.scopes is not None:
        if operation.scope is None:
            raise SessionRequired
        if operation.scope not in principal.scopes:
            raise InsufficientScope(operation.scope)
    if operation.access is Access.OPERATOR and principal.role != OPERATOR:
        raise OperatorRequired


def _key_id(header: Mapping[str, Any]) -> str | None:
    token_type = header.get("typ")
    if header.get("alg") != ALGORITHM or not isinstance(token_type, str) or token_type.lower() != TOKEN_TYPE:
        return None
    if _FOREIGN_HEADERS.intersection(header):
        return None
    key_id = header.get("kid")
    return key_id if isinstance(key_id, str) else None


def _principal(claims: Mapping[str, Any], key_id: str) -> Principal:
    user_id, session_id = (parse_id(claims[name]) if isinstance(claims[name], str) else None for name in ("sub", "sid"))
    if user_id is None or session_id is None or claims["exp"] - claims["iat"] > LIFETIME_SECONDS_MAX:
        raise InvalidToken
    return Principal(
        user_id=str(user_id),
        session_id=str(session_id),
        role=str(claims.get("role")),
        key_id=key_id,
        expires_at=float(claims["exp"]),
    )
