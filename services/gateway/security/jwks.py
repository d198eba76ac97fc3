"""The public keys of access tokens, fetched from auth and kept while auth is unavailable."""

from __future__ import annotations

import asyncio
import base64
import time
from collections.abc import Mapping
from typing import Any

import structlog
from aiohttp import web
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from services.contracts.access_keys import KEYS_REFRESHED_EVERY_SECONDS
from services.contracts.refusal import Refusal
from services.gateway.clients.auth import AuthClient

FETCH_SECONDS = 2.0
RETRY_SECONDS = 1.0
"""The pause after a failed fetch, and between fetches for unknown key ids."""

log = structlog.get_logger()


class Keys:
    """Ed25519 keys by key id."""

    def __init__(self, auth: AuthClient) -> None:
        self._auth = auth
        self._keys: dict[str, Ed25519PublicKey] = {}
        self._document: dict[str, Any] = {"keys": []}
        self._fetching: asyncio.Task[bool] | None = None
        self._fetched_at = -RETRY_SECONDS
        self._is_unavailable = False

    @property
    def document(self) -> dict[str, Any]:
        """The key set (RFC 7517) as auth published it."""
        return self._document

    @property
    def are_known(self) -> bool:
        """Whether keys have ever been fetched."""
        return bool(self._keys)

    def has(self, key_id: str) -> bool:
        """Whether the key is in the last published set."""
        return key_id in self._keys

    @property
    def is_unavailable(self) -> bool:
        """Whether the last fetch failed: an unknown key may be a new one."""
        return self._is_unavailable

    async def find(self, key_id: str) -> Ed25519PublicKey | None:
        """The key. An unknown id causes a fetch, at most once a second."""
        key = self._keys.get(key_id)
        if key is not None:
            return key
        if self._fetching is not None or time.monotonic() - self._fetched_at >= RETRY_SECONDS:
            self._fetched_at = time.monotonic()
            await self.refresh()
        return self._keys.get(key_id)

    async def refresh(self) -> bool:
        """Fetch the keys and return whether that succeeded. Concurrent callers share one fetch."""
        if self._fetching is None:
            self._fetching = asyncio.create_task(self._fetch())
        return await asyncio.shield(self._fetching)

    async def run(self) -> None:
        """Fetch now and every minute, sooner after a failure, until cancelled."""
        while True:
            succeeded = await self.refresh()
            await asyncio.sleep(KEYS_REFRESHED_EVERY_SECONDS if succeeded else RETRY_SECONDS)

    async def ping(self) -> None:
        """Raise until there are keys; for `/readyz`."""
        if not self.are_known:
            raise LookupError("no keys yet")

    async def _fetch(self) -> bool:
        try:
            document = await self._auth.get_jwks(seconds=FETCH_SECONDS)
            self._keys = _read(document)
            self._document = document
        except (Refusal, ValueError) as error:
            if not self._is_unavailable:
                log.warning("keys_not_fetched", error=type(error).__name__)
            self._is_unavailable = True
            return False
        finally:
            self._fetching = None
        self._is_unavailable = False
        return True


def _read(document: Any) -> dict[str, Ed25519PublicKey]:
    try:
        keys = {key["kid"]: _public_key(key) for key in document["keys"]}
    except (KeyError, TypeError) as error:
        raise ValueError("not a key set") from error
    if not keys:
        raise ValueError("a key set without keys")
    return keys


def _public_key(key: Mapping[str, str]) -> Ed25519PublicKey:
    if (key["kty"], key["crv"]) != ("OKP", "Ed25519"):
        raise ValueError("not an Ed25519 key")
    return Ed25519PublicKey.from_public_bytes(base64.urlsafe_b64decode(key["x"] + "=" * (-len(key["x"]) % 4)))


KEYS: web.AppKey[Keys] = web.AppKey("keys")
