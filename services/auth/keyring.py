"""The keys that sign access tokens: Ed25519, named by their own fingerprint; and the vault that seals what is stored."""

from __future__ import annotations

import base64
import hashlib
import json
import os
from dataclasses import dataclass
from uuid import UUID

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

SEALING_KEY_BYTES = 32
NONCE_BYTES = 12
_PURPOSE = b"payflow auth: signing keys at rest, version 1"
_PURPOSE_OF_TOKENS = b"payflow auth: tokens of letters that wait to be sent, version 1"
_FACTOR_PURPOSE = b"payflow auth: second factors at rest, version 1"


class WrongSecret(Exception):  # noqa: N818 - reads as what it is
    """What is stored cannot be opened: PAYFLOW_AUTH_SECRET is not the one it was sealed with."""


@dataclass(frozen=True, slots=True)
class StoredKey:
    """A signing key as the database holds it."""

    kid: str
    public_key: bytes
    private_key_sealed: bytes


@dataclass(frozen=True, slots=True)
class SigningKey:
    """A signing key ready to sign; `kid` is the fingerprint of its public half (RFC 7638)."""

    kid: str
    private_key: Ed25519PrivateKey


class Vault:
    """Seals and opens with AES-GCM, under keys derived (HKDF) from the deployment's secret, one for each purpose."""

    def __init__(self, secret: str) -> None:
        self._cipher = _cipher(secret, _PURPOSE)
        self._tokens = _cipher(secret, _PURPOSE_OF_TOKENS)
        self._factor_cipher = _cipher(secret, _FACTOR_PURPOSE)

    def seal(self, key: SigningKey) -> StoredKey:
        """The form that may be stored. The kid is bound in: a sealed key moved to another row does not open."""
        nonce = os.urandom(NONCE_BYTES)
        sealed = self._cipher.encrypt(nonce, key.private_key.private_bytes_raw(), key.kid.encode())
        return StoredKey(key.kid, key.private_key.public_key().public_bytes_raw(), nonce + sealed)

    def open(self, stored: StoredKey) -> SigningKey:
        """The key behind its stored form.

        Raises:
            WrongSecret: it was sealed under another secret, or altered.
        """
        nonce, sealed = stored.private_key_sealed[:NONCE_BYTES], stored.private_key_sealed[NONCE_BYTES:]
        try:
            raw = self._cipher.decrypt(nonce, sealed, stored.kid.encode())
        except InvalidTag:
            raise WrongSecret(
                "the signing key in the database was sealed with another PAYFLOW_AUTH_SECRET, or altered"
            ) from None
        return SigningKey(stored.kid, Ed25519PrivateKey.from_private_bytes(raw))

    def seal_token(self, token: str, *, letter_id: UUID) -> bytes:
        """The form in which the token of a letter may wait to be sent. Bound to its letter: elsewhere it does not open."""
        nonce = os.urandom(NONCE_BYTES)
        return nonce + self._tokens.encrypt(nonce, token.encode(), letter_id.bytes)

    def open_token(self, sealed: bytes, *, letter_id: UUID) -> str:
        """The token behind its sealed form.

        Raises:
            WrongSecret: it was sealed under another secret or for another letter, or altered.
        """
        try:
            return self._tokens.decrypt(sealed[:NONCE_BYTES], sealed[NONCE_BYTES:], letter_id.bytes).decode()
        except InvalidTag:
            raise WrongSecret("a letter was sealed with another PAYFLOW_AUTH_SECRET, or altered") from None

    def seal_factor(self, secret: bytes, user_id: UUID) -> bytes:
        """The secret of a second factor in the form that may be stored, bound to its user."""
        nonce = os.urandom(NONCE_BYTES)
        return nonce + self._factor_cipher.encrypt(nonce, secret, user_id.bytes)

    def open_factor(self, sealed: bytes, user_id: UUID) -> bytes:
        """The secret of a second factor behind its stored form.

        Raises:
            WrongSecret: it was sealed under another secret or for another user, or altered.
        """
        try:
            return self._factor_cipher.decrypt(sealed[:NONCE_BYTES], sealed[NONCE_BYTES:], user_id.bytes)
        except InvalidTag:
            raise WrongSecret(
                "a second factor in the database was sealed with another PAYFLOW_AUTH_SECRET, or altered"
            ) from None


def new_key() -> SigningKey:
    """A fresh signing key."""
    private_key = Ed25519PrivateKey.generate()
    return SigningKey(_fingerprint(private_key.public_key().public_bytes_raw()), private_key)


def public_jwk(key: StoredKey) -> dict[str, str]:
    """The public half as verifiers want it (RFC 8037)."""
    return {
        "kty": "OKP",
        "crv": "Ed25519",
        "x": _base64url(key.public_key),
        "kid": key.kid,
        "use": "sig",
        "alg": "EdDSA",
    }


def _cipher(secret: str, purpose: bytes) -> AESGCM:
    derived = HKDF(algorithm=SHA256(), length=SEALING_KEY_BYTES, salt=None, info=purpose)
    return AESGCM(derived.derive(secret.encode()))


def _fingerprint(public_key: bytes) -> str:
    members = {"crv": "Ed25519", "kty": "OKP", "x": _base64url(public_key)}
    return _base64url(hashlib.sha256(json.dumps(members, separators=(",", ":"), sort_keys=True).encode()).digest())


def _base64url(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()
