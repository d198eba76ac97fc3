"""Who is calling: each role signs short-lived tokens with its own key; callees know the public keys by configuration."""

from __future__ import annotations

import base64
import time
from collections.abc import Mapping
from dataclasses import dataclass, field

import jwt
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

LIFETIME_SECONDS = 60
_REUSE_SECONDS = 30
_CACHE_MAX = 256


@dataclass(slots=True)
class Identity:
    """This role's private key and everybody's public keys by name (`gateway`, `transaction-worker`, ...)."""

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
    """Makes the bearer token of this role for one callee, reused for half of its life."""

    identity: Identity
    audience: str
    _issuer: str = field(init=False)
    _token: str = field(init=False, default="")
    _renew_at: float = field(init=False, default=0.0)

    def __post_init__(self) -> None:
        self._issuer = self.identity.name

    def token(self) -> str:
        """A token that is good for at least half a minute."""
        now = time.time()
        if now >= self._renew_at:
            claims = {
                "iss": self._issuer,
                "aud": self.audience,
                "iat": int(now),
                "exp": int(now) + LIFETIME_SECONDS,
            }
            self._token = jwt.encode(claims, self.identity.key, algorithm="EdDSA", headers={"kid": self._issuer})
            self._renew_at = now + _REUSE_SECONDS
        return self._token


@dataclass(slots=True)
class TokenVerifier:
    """Tells which identity signed a token for this audience. Verified tokens are remembered until they expire."""

    public_keys: Mapping[str, Ed25519PublicKey]
    audience: str
    _seen: dict[str, tuple[str, float]] = field(default_factory=dict)

    def caller(self, token: str) -> str | None:
        """The identity behind the token, or None when it does not hold: key, signature, audience, life time."""
        seen = self._seen.get(token)
        if seen is not None:
            return seen[0] if time.time() < seen[1] else None
        verified = self._verify(token)
        if verified is not None:
            if len(self._seen) >= _CACHE_MAX:
                self._seen.clear()
            self._seen[token] = verified
        return verified[0] if verified else None

    def _verify(self, token: str) -> tuple[str, float] | None:
        try:
            # The header only chooses among our own keys; the algorithm is ours, never the token's.
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
                leeway=5,
                options={"require": ["exp", "iat", "aud", "iss"]},
            )
        except (jwt.InvalidTokenError, ValueError):
            return None
        if claims["exp"] - claims["iat"] > LIFETIME_SECONDS:
            return None
        return str(claims["iss"]), float(claims["exp"])
