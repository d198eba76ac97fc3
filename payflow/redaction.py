"""Removes secrets and whole e-mail addresses from what is attached to a ticket. Pure.

Removed is what has the name of a secret, and what looks like one whatever its name. Ids, names of processes, amounts and times
stay: they are what a reader needs.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

REDACTED = "[redacted]"

_NAMES = re.compile(
    r"passw|passphrase|\bpwd|secret|token(?!_type)|authorization|cookie|credential|api_?key|private|signing_key|service_key|totp|otp_"
    r"|recovery|dsn$|_url$|^key$|idempotency_key",
    re.IGNORECASE,
)
"""Parts of the names of fields whose values are never shown. Addresses of engines contain passwords."""

_CUSTOMER_TEXT = frozenset({"description", "metadata", "name", "title", "body"})
"""What customers wrote, or their names, in a document about a transfer. Elsewhere a name may be that of a queue."""

_NEVER = frozenset({"description", "metadata", "full_name", "display_name", "note", "iban", "phone"})
"""Fields with what customers wrote, wherever they stand."""

_PATTERNS: tuple[tuple[re.Pattern[str], str], ...] = (
    (re.compile(r"-----BEGIN [A-Z ]*KEY-----.*?(-----END [A-Z ]*KEY-----|$)", re.DOTALL), REDACTED),
    # The values of a row that PostgreSQL refused, in its log or in a traceback.
    (re.compile(r"DETAIL: .*?(?=\n\n(?:The above exception|During handling)|\Z)", re.DOTALL), f"DETAIL: {REDACTED}"),
    # Up to the last @: a password may contain one, or a slash.
    (re.compile(r"\b[\w+.-]+://[^\s\"'<>]*@"), f"{REDACTED}@"),
    (re.compile(r"otpauth://\S+"), REDACTED),
    (re.compile(r"(?i)\b(bearer|basic)\s+[\w.~+/=-]+"), rf"\1 {REDACTED}"),
    (re.compile(r"\beyJ[\w-]+(\.[\w-]+){0,2}"), REDACTED),
    (re.compile(r"\bpfk_\w+"), REDACTED),
    (re.compile(r"\$(argon2|scrypt|2[aby])\S*"), REDACTED),
    (re.compile(r"(?i)\b(password|passwd|secret|token|api[_-]?key)(\"?\s*[=:]\s*\"?)[^\s\",;&]+"), rf"\1\2{REDACTED}"),
    # A run of upper case, lower case and digits is a key; ids and hashes have no upper case.
    (re.compile(r"(?<![\w/+])(?=[\w/+-]*[a-z])(?=[\w/+-]*[A-Z])(?=[\w/+-]*\d)[\w/+-]{24,}={0,2}"), REDACTED),
    # The @ may be encoded for a URL or for JSON. The characters = / ? & are left out: they stand before addresses in logs.
    (re.compile(r"(?i)(?<![\w.!#$%'*+^`~-])[\w.!#$%'*+^`~-]+(@|%40|\\u0040)(?=[\w-]+(\.[\w-]+)+)"), "***@"),
    (re.compile(r"(?i)\"[^\"\s@]+( [^\"\s@]+)*\\?\"@(?=[\w-]+(\.[\w-]+)+)"), "***@"),
)


def redact(value: Any) -> Any:
    """A copy of a JSON value without secrets, customers' text and whole e-mail addresses."""
    if isinstance(value, Mapping):
        return {redact_text(str(name)): _field(str(name), member) for name, member in value.items()}
    if isinstance(value, list | tuple):
        return [redact(member) for member in value]
    return redact_text(value) if isinstance(value, str) else value


def redact_text(text: str) -> str:
    """A text without anything that looks like a secret or a whole e-mail address."""
    for pattern, replacement in _PATTERNS:
        text = pattern.sub(replacement, text)
    return text


def without_text(document: Mapping[str, Any]) -> dict[str, Any]:
    """A document of the API without what customers wrote."""
    return {name: value for name, value in document.items() if name not in _CUSTOMER_TEXT}


def _field(name: str, value: Any) -> Any:
    if (_NAMES.search(name) or name in _NEVER) and value is not None and not isinstance(value, bool | int | float):
        return REDACTED
    return redact(value)
