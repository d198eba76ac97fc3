"""Service tokens: each role signs short-lived tokens with its own key; callees have the public keys in their configuration.

The clocks of caller and callee may differ. A callee that refuses a token only for its times returns its own time, and from then
on the caller dates its tokens for that callee by it.
"""

from __future__ import annotations

import base64
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from services.contracts.refusal import Refusal

LIFETIME_SECONDS = 60
LEEWAY_SECONDS = 5
"""How much two clocks may differ before a token is refused."""

NOW = "now"
"""The member of a refusal that contains the time of the callee, in Unix seconds. The `Date` header could be that of a proxy, and
has a resolution of a second; this is the reading by which the token was checked."""

_REUSE_SECONDS = 30
_CACHE_MAX = 256
_UNIX_SECONDS_MAX = 2.0**40

Clock = Callable[[], float]


class TokenClockSkew(Refusal):
    """The service token is genuine, but not valid at the time of this clock; nothing was done."""

    status = 401
    code = "token_clock_skew"
    retry_helps = True


@dataclass(slots=True)
class Identity:
    """The private key of this role, and the public keys of all roles by name (`gateway`, `transaction-worker`, ...)."""

    key: Ed25519PrivateKey
    public_keys: Mapping[str, Ed25519PublicKey]

    @classmethod
    def from_base64(cls, seed: str, public_keys: Mapping[str, str]) -> Identity:
        """Build from the base64 texts of the configuration.

        Raises:
            ValueError: a key is not 32 bytes of base64.
        """
        return cls(
            key=Ed25519PrivateKey.from_private_bytes(base64.b64decode(seed)),
            public_keys={
                name: Ed25519PublicKey.from_public_bytes(base64.b64decode(text)) for name, text in public_keys.items()
            },
        )

    @property
    def name(self) -> str:
        """The name under which callees know this key."""
        raw = self.key.public_key().public_bytes_raw()
        for name, public in self.public_keys.items():
            if public.public_bytes_raw() == raw:
                return name
        raise ValueError("PAYFLOW_SERVICE_KEY: its public half is not in PAYFLOW_SERVICE_PUBLIC_KEYS")


@dataclass(slots=True)
class TokenSigner:
    """Creates the bearer token of this role for one callee; each token is reused for half of its lifetime."""

    identity: Identity
    audience: str
    clock: Clock = time.time
    """The Unix time of this process; it may be wrong, and jump."""

    timer: Clock = time.monotonic
    """Monotonic seconds, by which tokens are renewed."""

    callee_ahead_seconds: float = field(init=False, default=0.0)
    """By how much the clock of the callee is ahead of this one, according to its last refusal."""

    _issuer: str = field(init=False)
    _token: str = field(init=False, default="")
    _renew_at: float = field(init=False, default=-math.inf)

    def __post_init__(self) -> None:
        self._issuer = self.identity.name

    def token(self) -> str:
        """A token that is valid for at least half a minute, by the clock of the callee as far as it is known."""
        elapsed = self.timer()
        if elapsed >= self._renew_at:
            now = int(self.clock() + self.callee_ahead_seconds)
            claims = {"iss": self._issuer, "aud": self.audience, "iat": now, "exp": now + LIFETIME_SECONDS}
            self._token = jwt.encode(claims, self.identity.key, algorithm="EdDSA", headers={"kid": self._issuer})
            self._renew_at = elapsed + _REUSE_SECONDS
        return self._token

    def learn(self, refusal: Refusal) -> bool:
        """Use the time of the callee that refused the last token; False if the refusal contains none.

        It is used only to date the tokens for this callee.
        """
        now = refusal.extra.get(NOW)
        if not isinstance(now, int | float) or isinstance(now, bool) or not 0 < now < _UNIX_SECONDS_MAX:
            return False
        self.callee_ahead_seconds = now - self.clock()
        self._renew_at = -math.inf
        return True


@dataclass(frozen=True, slots=True)
class _Verified:
    """A token whose signature, audience and claims are valid, apart from its times."""

    caller: str
    issued_at: int
    expires_at: int


@dataclass(slots=True)
class TokenVerifier:
    """Identifies the signer of a token for this audience. Verified tokens are cached; their times are checked with every use."""

    public_keys: Mapping[str, Ed25519PublicKey]
    audience: str
    clock: Clock = time.time
    _seen: dict[str, _Verified] = field(default_factory=dict)

    def caller(self, token: str) -> str | None:
        """The identity that signed the token, or None if it is invalid: key, signature, audience, claims.

        Raises:
            TokenClockSkew: it is genuine, but expired or not valid yet; the refusal contains the time of this clock.
        """
        verified = self._seen.get(token) or self._verify(token)
        if verified is None:
            return None
        now = self.clock()
        if not verified.issued_at - LEEWAY_SECONDS <= now < verified.expires_at + LEEWAY_SECONDS:
            raise TokenClockSkew(extra={NOW: now})
        if token not in self._seen:
            if len(self._seen) >= _CACHE_MAX:
                self._seen.clear()
            self._seen[token] = verified
        return verified.caller

    def _verify(self, token: str) -> _Verified | None:
        try:
            # The header only selects one of our keys; the algorithm is fixed, never that of the token.
            issuer = jwt.get_unverified_header(token).get("kid")
            key = self.public_keys.get(issuer) if isinstance(issuer, str) else None
            if key is None:
                return None
            claims = jwt.decode(
                token,
                key,
                algorithms=["EdDSA"],
                audience=self.audience,
                issuer=issuer,
                options={
                    "require": ["exp", "iat", "aud", "iss"],
                    # Checked above by our own clock, with every use.
                    "verify_exp": False,
                    "verify_iat": False,
                    "verify_nbf": False,
                },
            )
        except (jwt.InvalidTokenError, ValueError):
            return None
        return _read(claims)


def _read(claims: Mapping[str, Any]) -> _Verified | None:
    issued_at, expires_at = claims["iat"], claims["exp"]
    # Our tokens have whole numbers and no "not before"; a token with one was not issued by us.
    if type(issued_at) is not int or type(expires_at) is not int or "nbf" in claims:
        return None
    if expires_at - issued_at > LIFETIME_SECONDS:
        return None
    return _Verified(str(claims["iss"]), issued_at, expires_at)
