"""API keys: their format, by which the gateway refuses invalid ones without a request to auth, and their scopes.

A key is `pfk_<12 characters that may be shown>_<43 characters of secret><6 of checksum>`, all letters and digits. Scanners for
leaked secrets recognise a key offline by its prefix and checksum.
"""

from __future__ import annotations

import hashlib
import re
import secrets
import zlib
from enum import StrEnum
from typing import NamedTuple

MARK = "pfk_"
"""The prefix of every key."""

SHOWN_LENGTH = 12
SECRET_LENGTH = 43
"""Characters of an alphabet of 62: 256 bits."""

CHECKSUM_LENGTH = 6
LENGTH = len(MARK) + SHOWN_LENGTH + 1 + SECRET_LENGTH + CHECKSUM_LENGTH

_ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_KEY = re.compile(rf"{MARK}[0-9A-Za-z]{{{SHOWN_LENGTH}}}_[0-9A-Za-z]{{{SECRET_LENGTH + CHECKSUM_LENGTH}}}", re.ASCII)


class Scope(StrEnum):
    """The scopes of a key. No scope includes another."""

    READ = "read"
    TRANSFER = "transfer"
    OPERATE = "operate"


class ApiKey(NamedTuple):
    """A new key, returned once, and the prefix by which lists show it."""

    text: str
    prefix: str


def new_key() -> ApiKey:
    """Create a key."""
    prefix = MARK + _random(SHOWN_LENGTH)
    body = f"{prefix}_{_random(SECRET_LENGTH)}"
    return ApiKey(body + _checksum(body), prefix)


def looks_like_key(text: str) -> bool:
    """Whether a credential has the prefix of an API key."""
    return text.startswith(MARK)


def is_well_formed(text: str) -> bool:
    """Whether the format and the checksum are valid. Typing errors and guesses are detected without a request to auth."""
    body, checksum = text[:-CHECKSUM_LENGTH], text[-CHECKSUM_LENGTH:]
    return _KEY.fullmatch(text) is not None and _checksum(body) == checksum


def hash_key(text: str) -> bytes:
    """The hash that is stored, sent and cached instead of a key. Keys are long and random, so a plain hash cannot be reversed."""
    return hashlib.sha256(text.encode()).digest()


def _random(length: int) -> str:
    return "".join(secrets.choice(_ALPHABET) for _ in range(length))


def _checksum(body: str) -> str:
    number, text = zlib.crc32(body.encode()), ""
    for _ in range(CHECKSUM_LENGTH):
        number, digit = divmod(number, len(_ALPHABET))
        text = _ALPHABET[digit] + text
    return text
