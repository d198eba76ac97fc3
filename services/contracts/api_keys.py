"""API keys: how one is written, by which the gateway refuses what was never one, and what a key may be good for.

A key is `pfk_<12 characters that may be shown>_<43 characters of secret><6 of checksum>`, all of them letters and digits. The
prefix and the checksum are for scanners that look for leaked secrets: they find a key, and know that it is one, offline.
"""

from __future__ import annotations

import hashlib
import re
import secrets
import zlib
from enum import StrEnum
from typing import NamedTuple

MARK = "pfk_"
"""What every key begins with."""

SHOWN_LENGTH = 12
SECRET_LENGTH = 43
"""Of 62 characters each: 256 bits."""

CHECKSUM_LENGTH = 6
LENGTH = len(MARK) + SHOWN_LENGTH + 1 + SECRET_LENGTH + CHECKSUM_LENGTH

_ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_KEY = re.compile(rf"{MARK}[0-9A-Za-z]{{{SHOWN_LENGTH}}}_[0-9A-Za-z]{{{SECRET_LENGTH + CHECKSUM_LENGTH}}}", re.ASCII)


class Scope(StrEnum):
    """What a key may be good for. None includes another."""

    READ = "read"
    TRANSFER = "transfer"
    OPERATE = "operate"


class ApiKey(NamedTuple):
    """A key as it is handed out once, and the part by which it is recognised in lists."""

    text: str
    prefix: str


def new_key() -> ApiKey:
    """A fresh key."""
    prefix = MARK + _random(SHOWN_LENGTH)
    body = f"{prefix}_{_random(SECRET_LENGTH)}"
    return ApiKey(body + _checksum(body), prefix)


def looks_like_key(text: str) -> bool:
    """Whether somebody means this as an API key."""
    return text.startswith(MARK)


def is_well_formed(text: str) -> bool:
    """Whether it could be a key: form and checksum. A typing error and a guess are known without asking anybody."""
    body, checksum = text[:-CHECKSUM_LENGTH], text[-CHECKSUM_LENGTH:]
    return _KEY.fullmatch(text) is not None and _checksum(body) == checksum


def hash_key(text: str) -> bytes:
    """What is stored, asked for and remembered of a key. It is random and long: a plain hash cannot be searched backwards."""
    return hashlib.sha256(text.encode()).digest()


def _random(length: int) -> str:
    return "".join(secrets.choice(_ALPHABET) for _ in range(length))


def _checksum(body: str) -> str:
    number, text = zlib.crc32(body.encode()), ""
    for _ in range(CHECKSUM_LENGTH):
        number, digit = divmod(number, len(_ALPHABET))
        text = _ALPHABET[digit] + text
    return text
