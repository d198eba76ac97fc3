"""The Ed25519 keys that sign access tokens, and the keyring that encrypts what is stored."""

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
# Part of the key derivation: with another text, stored secrets could not be opened.
_PURPOSE = b"payflow auth: signing keys at rest, version 1"
_TOKEN_PURPOSE = b"payflow auth: tokens of letters that wait to be sent, version 1"
_FACTOR_PURPOSE = b"payflow auth: second factors at rest, version 1"


class WrongSecret(Exception):  # noqa: N818 - a condition, not a kind of error
    """Stored data cannot be opened: it was sealed with another PAYFLOW_AUTH_SECRET."""


@dataclass(frozen=True, slots=True)
class StoredKey:
    """A signing key as it is stored."""

    kid: str
    public_key: bytes
    private_key_sealed: bytes


@dataclass(frozen=True, slots=True)
class SigningKey:
    """A signing key ready to sign; `kid` is the fingerprint of its public key (RFC 7638)."""

    kid: str
    private_key: Ed25519PrivateKey


class Keyring:
    """Seals (encrypts) and opens data with AES-GCM, with a key for each purpose, derived (HKDF) from the secret."""

    def __init__(self, secret: str) -> None:
        self._cipher = _cipher(secret, _PURPOSE)
        self._tokens = _cipher(secret, _TOKEN_PURPOSE)
        self._factor_cipher = _cipher(secret, _FACTOR_PURPOSE)

    def seal(self, key: SigningKey) -> StoredKey:
        """The stored form of a key. It is bound to its kid: a sealed key that is moved to another row cannot be opened."""
        nonce = os.urandom(NONCE_BYTES)
        sealed = self._cipher.encrypt(nonce, key.private_key.private_bytes_raw(), key.kid.encode())
        return StoredKey(key.kid, key.private_key.public_key().public_bytes_raw(), nonce + sealed)

    def open(self, stored: StoredKey) -> SigningKey:
        """Open the stored form of a key.

        Raises:
            WrongSecret: it was sealed with another secret, or altered.
        """
        nonce, sealed = stored.private_key_sealed[:NONCE_BYTES], stored.private_key_sealed[NONCE_BYTES:]
        try:
            raw = self._cipher.decrypt(nonce, sealed, stored.kid.encode())
        except InvalidTag:
            raise WrongSecret(
                "the signing key in the database was sealed with another PAYFLOW_AUTH_SECRET, or altered"
            ) from None
        return SigningKey(stored.kid, Ed25519PrivateKey.from_private_bytes(raw))

    def seal_token(self, token: str, *, email_id: UUID) -> bytes:
        """The stored form of the token of a queued e-mail. It is bound to the e-mail, and cannot be opened for another one."""
        nonce = os.urandom(NONCE_BYTES)
        return nonce + self._tokens.encrypt(nonce, token.encode(), email_id.bytes)

    def open_token(self, sealed: bytes, *, email_id: UUID) -> str:
        """Open the stored form of a token.

        Raises:
            WrongSecret: it was sealed with another secret or for another e-mail, or altered.
        """
        try:
            return self._tokens.decrypt(sealed[:NONCE_BYTES], sealed[NONCE_BYTES:], email_id.bytes).decode()
        except InvalidTag:
            raise WrongSecret("an e-mail was sealed with another PAYFLOW_AUTH_SECRET, or altered") from None

    def seal_factor(self, secret: bytes, user_id: UUID) -> bytes:
        """The stored form of the secret of a second factor, bound to its user."""
        nonce = os.urandom(NONCE_BYTES)
        return nonce + self._factor_cipher.encrypt(nonce, secret, user_id.bytes)

    def open_factor(self, sealed: bytes, user_id: UUID) -> bytes:
        """Open the stored form of the secret of a second factor.

        Raises:
            WrongSecret: it was sealed with another secret or for another user, or altered.
        """
        try:
            return self._factor_cipher.decrypt(sealed[:NONCE_BYTES], sealed[NONCE_BYTES:], user_id.bytes)
        except InvalidTag:
            raise WrongSecret(
                "a second factor in the database was sealed with another PAYFLOW_AUTH_SECRET, or altered"
            ) from None


def new_signing_key() -> SigningKey:
    """Create a signing key."""
    private_key = Ed25519PrivateKey.generate()
    return SigningKey(_fingerprint(private_key.public_key().public_bytes_raw()), private_key)


def public_jwk(key: StoredKey) -> dict[str, str]:
    """The public key as a JSON Web Key (RFC 8037)."""
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
