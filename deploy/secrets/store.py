"""Secrets of one deployment: generated once and stored in one file that only its owner may read."""

from __future__ import annotations

import base64
import secrets
from collections.abc import Callable
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from deploy.local import files
from deploy.programs import DeployError

PASSWORD_BYTES = 24
IRREPLACEABLE = ("postgres:payflow", "rabbitmq", "auth_secret")
"""Secrets that the data of a deployment depend on; all others can be generated again."""


class Secrets:
    """Passwords and keys by name; a new one is generated and stored on first use."""

    def __init__(self, path: Path) -> None:
        """Store the secrets in the JSON file `path`."""
        self.path = path
        self._values: dict[str, str] | None = None

    def has(self, name: str) -> bool:
        """Whether this secret exists."""
        return name in self._load()

    def lost(self) -> list[str]:
        """The names of the secrets that are missing and that existing data depend on."""
        return [name for name in IRREPLACEABLE if not self.has(name)]

    def find(self, name: str) -> str | None:
        """A secret that only the operator can know; None if it is not in the file."""
        return self._load().get(name)

    def password(self, name: str) -> str:
        """A password of hexadecimal digits, which needs no quoting anywhere."""
        return self._get_or_make(name, lambda: secrets.token_hex(PASSWORD_BYTES))

    def private_key(self, identity: str) -> str:
        """The Ed25519 seed of an identity: 32 bytes, base64."""
        return self._get_or_make(
            f"service_key:{identity}",
            lambda: base64.b64encode(secrets.token_bytes(32)).decode(),
        )

    def public_key(self, identity: str) -> str:
        """The raw Ed25519 public key that belongs to `private_key`: 32 bytes, base64."""
        try:
            seed = base64.b64decode(self.private_key(identity), validate=True)
            public = Ed25519PrivateKey.from_private_bytes(seed).public_key()
        except ValueError:
            raise DeployError(f"{self.path}: service_key:{identity} is not the base64 of 32 bytes") from None
        return base64.b64encode(public.public_bytes_raw()).decode()

    def _get_or_make(self, name: str, make: Callable[[], str]) -> str:
        values = self._load()
        if name not in values:
            # What another object has stored since the file was read must neither be lost nor made twice.
            values = self._values = self._read()
        if name not in values:
            values[name] = make()
            self.path.parent.mkdir(parents=True, exist_ok=True)
            files.write_json(self.path, values)
        return values[name]

    def _load(self) -> dict[str, str]:
        if self._values is None:
            self._values = self._read()
        return self._values

    def _read(self) -> dict[str, str]:
        if not self.path.exists():
            return {}
        stored = files.read_object(self.path)
        if stored is None:
            raise DeployError(
                f"{self.path} is not valid JSON; restore it from a backup: without these passwords the data cannot be read"
            )
        return {name: str(value) for name, value in stored.items()}
