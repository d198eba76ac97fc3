"""Authentication: bearer tokens are verified locally with the public keys of auth."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import jwt
import structlog
from aiohttp import web
from multidict import CIMultiDictProxy

from services.chassis.server import Guard
from services.contracts import limits
from services.contracts.api_keys import Scope, looks_like_key
from services.contracts.identifiers import parse_id
from services.contracts.refusals.auth import OperatorRequired
from services.gateway import operations
from services.gateway.errors import InsufficientScope, InvalidToken, KeysUnavailable, SessionRequired
from services.gateway.operations import Access, Operation
from services.gateway.security.jwks import Keys
from services.gateway.security.revocations import Revocations

ISSUER = "payflow"
AUDIENCE = "payflow-api"
TOKEN_TYPE = "at+jwt"  # noqa: S105 - a media type
ALGORITHM = "EdDSA"
OPERATOR = "operator"

CLAIMS = ("exp", "iat", "sub", "jti", "sid")
TOKEN_LENGTH_MAX = 4096
CLOCK_SECONDS = 5
"""How far in the future a token may start: after a failover, the clock of another database dates tokens."""

CACHED_MAX = 20_000

log = structlog.get_logger()

# RFC 7515, with the only encoding that a signature has: the library would also accept a padded one.
_COMPACT = re.compile(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]{85}[AQgw]")

_FOREIGN_HEADERS = frozenset({"jwk", "jku", "x5u", "x5c", "crit"})
"""Headers by which a token would choose how it is verified. Our tokens never have them."""


@dataclass(frozen=True, slots=True)
class Principal:
    """The user of a verified token, and when it ends (by `time.monotonic`, which never jumps).

    `session_id` is what to revoke to end it: the session, or the API key itself. `scopes` are those of a key; None: a session.
    """

    user_id: str
    session_id: str
    role: str
    key_id: str
    ends_at: float
    scopes: frozenset[Scope] | None = None


PRINCIPAL: web.RequestKey[Principal] = web.RequestKey("principal", Principal)


class Tokens:
    """Verifies access tokens. Verified tokens are cached, by the whole token; their expiry is checked each time."""

    def __init__(self, keys: Keys, now: Callable[[], float]) -> None:
        """`now` returns the Unix time by the clock that dates the tokens."""
        self._keys = keys
        self._now = now
        self._cached: dict[str, Principal] = {}

    async def principal(self, token: str) -> Principal:
        """The principal of this token.

        Raises:
            InvalidToken: for any reason.
            KeysUnavailable: its key is unknown here, and auth is unavailable.
        """
        principal = self._cached.get(token)
        if principal is None:
            principal = await self._verify(token)
            if len(self._cached) >= CACHED_MAX:
                del self._cached[next(iter(self._cached))]
            self._cached[token] = principal
        if principal.ends_at <= time.monotonic() or not self._keys.has(principal.key_id):
            self._cached.pop(token, None)
            raise InvalidToken
        return principal

    async def _verify(self, token: str) -> Principal:
        if not self._keys.are_known:
            raise KeysUnavailable
        if len(token) > TOKEN_LENGTH_MAX or not _COMPACT.fullmatch(token):
            raise InvalidToken
        try:
            key_id = _key_id(jwt.get_unverified_header(token))
            key = await self._keys.find(key_id) if key_id is not None else None
            if key is None:
                # While auth is unavailable the key may exist: a valid token must not be reported as invalid.
                raise KeysUnavailable if key_id is not None and self._keys.is_unavailable else InvalidToken
            claims = jwt.decode(
                token,
                key,
                algorithms=[ALGORITHM],
                audience=AUDIENCE,
                issuer=ISSUER,
                # The library would check times by the clock of this machine.
                options={"require": list(CLAIMS), "verify_exp": False, "verify_nbf": False, "verify_iat": False},
            )
        except (jwt.InvalidTokenError, ValueError):
            raise InvalidToken from None
        return _principal(claims, str(key_id), seconds=_seconds_left(claims, self._now()))


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


class ApiKeyVerifier(Protocol):
    """Verifies API keys."""

    async def principal(self, key: str, request: web.Request) -> Principal:
        """The principal of this key; raises a refusal otherwise."""


def guard(tokens: Tokens, revocations: Revocations, keys: ApiKeyVerifier) -> Guard:
    """Authenticate and authorize each request, unless its operation is public; handlers find the principal in the request."""

    async def authenticate(request: web.Request) -> None:
        operation = operations.of(request)
        if operation is None or operation.access is Access.PUBLIC:
            return
        token = bearer(request.headers)
        if not revocations.are_known:
            raise KeysUnavailable
        principal = await (keys.principal(token, request) if looks_like_key(token) else tokens.principal(token))
        if revocations.is_revoked(principal.session_id):
            raise InvalidToken
        _authorize(operation, principal)
        request[PRINCIPAL] = principal
        if operation.access is Access.OPERATOR:
            # Changes by operators are in the audit log; this also records what they only read.
            log.info("operator_authorized", operator_id=principal.user_id, method=request.method, path=request.path)

    return authenticate


def _authorize(operation: Operation, principal: Principal) -> None:
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


def _seconds_left(claims: Mapping[str, Any], now: float) -> float:
    """The remaining lifetime of a token. It must have started, and must not live longer than our tokens do."""
    issued_at, not_before, expires_at = claims["iat"], claims.get("nbf", claims["iat"]), claims["exp"]
    if any(type(moment) is not int for moment in (issued_at, not_before, expires_at)):
        raise InvalidToken
    if (
        max(issued_at, not_before) > now + CLOCK_SECONDS
        or not now < expires_at <= issued_at + limits.ACCESS_TOKEN_SECONDS
    ):
        raise InvalidToken
    return float(expires_at - now)


def _principal(claims: Mapping[str, Any], key_id: str, *, seconds: float) -> Principal:
    user_id, session_id = (parse_id(claims[name]) if isinstance(claims[name], str) else None for name in ("sub", "sid"))
    if user_id is None or session_id is None:
        raise InvalidToken
    return Principal(
        user_id=str(user_id),
        session_id=str(session_id),
        role=str(claims.get("role")),
        key_id=key_id,
        ends_at=time.monotonic() + seconds,
    )
