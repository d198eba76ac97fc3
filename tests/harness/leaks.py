"""Secrets that must not appear in a log: those known to the tests, and anything that looks like one."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from collections.abc import Set as AbstractSet
from pathlib import Path
from typing import Any, NamedTuple

LENGTH_MIN = 8
"""Anything shorter occurs everywhere."""

PATTERNS = {
    "token": ("eyJ", re.compile(r"\beyJ[\w-]{8,}\.[\w-]{8,}\.[\w-]{8,}")),
    "e-mail address": ("@", re.compile(r"[\w.+-]+@(?:[\w-]+\.)+[A-Za-z]{2,}")),
    "password in an address": ("://", re.compile(r"\w+://[^/\s:@\"]+:[^/\s@\"\[\]]+@")),
    "bearer": ("earer", re.compile(r"(?i)\bbearer\s+[\w.~+/-]{16,}")),
    "private key": ("-----BEGIN", re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----")),
    "password hash": ("$argon2", re.compile(r"\$argon2id?\$")),
}
"""Patterns of secrets: a text that a line must contain to be checked, and the pattern."""

WORD = re.compile(r"[\w-]{8,}")
"""The form of most secrets: matching whole words makes thousands of secrets as cheap as one."""

IDENTIFIER = re.compile(r"[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}|@")
"""A UUID, or an e-mail address."""

LABELED = re.compile(r"^(\w+)\{(.*)\} \S+$", flags=re.MULTILINE)

ENGINES = frozenset({"postgres", "rabbitmq", "redis"})
OURS_ALLOWED = re.compile(r"^(?:rabbit|payflow)[\w-]*@[\w.-]+$")
"""RabbitMQ node names look like e-mail addresses."""

_known_secrets: set[str] = set()


class Leak(NamedTuple):
    """A secret in a log; the secret itself is not repeated."""

    file: str
    line: int
    what: str


def remember(*secrets: str) -> None:
    """Search every log for these secrets, regardless of their form."""
    _known_secrets.update(secret for secret in secrets if len(secret) >= LENGTH_MIN)


def known_secrets() -> frozenset[str]:
    """All remembered secrets."""
    return frozenset(_known_secrets)


def secrets_of(home: Path) -> set[str]:
    """Every secret of a stack: passwords of its engines, keys of its roles."""
    return {text for text in _texts(json.loads((home / "secrets.json").read_text())) if len(text) >= LENGTH_MIN}


def search(folder: Path, secrets: AbstractSet[str]) -> list[Leak]:
    """Search every log below a folder for these secrets and for anything that looks like one."""
    words = {secret for secret in secrets if WORD.fullmatch(secret)}
    # Secrets that match a pattern are found by it.
    others = {
        text for text in set(secrets) - words if not any(pattern.fullmatch(text) for _, pattern in PATTERNS.values())
    }
    found = []
    for file in sorted(folder.rglob("*.log*")):
        with file.open(errors="replace") as lines:
            for number, line in enumerate(lines, start=1):
                matches = _in_line(line, words, others, is_engine=file.stem in ENGINES)
                found += [Leak(file.name, number, what) for what in matches]
    return found


def forged(folder: Path) -> list[Leak]:
    """Log lines of our processes that are not a JSON object of their service: input has broken out of its field."""
    return [
        Leak(file.name, number, "not a line of this service")
        for file in sorted(folder.glob("*.log"))
        if file.stem not in ENGINES
        for number, line in enumerate(file.read_text(errors="replace").split("\n"), start=1)
        if line.startswith("{") and not _is_ours(line, file.stem)
    ]


def labeled_with_ids(pages: str) -> list[str]:
    """The series on these pages of metrics that have an id or an e-mail address as a label: their number has no bound."""
    return sorted({name for name, labels in LABELED.findall(pages) if IDENTIFIER.search(labels)})


def _in_line(line: str, words: set[str], others: set[str], *, is_engine: bool) -> Iterator[str]:
    if not words.isdisjoint(WORD.findall(line)) or any(other in line for other in others):
        yield "a secret"
    for what, (mark, pattern) in PATTERNS.items():
        if mark in line and [match for match in pattern.findall(line) if not (is_engine and OURS_ALLOWED.match(match))]:
            yield what


def _is_ours(line: str, name: str) -> bool:
    try:
        document = json.loads(line)
    except ValueError:
        return False
    return bool(isinstance(document, dict) and name.startswith(str(document.get("service"))) and "event" in document)


def _texts(document: Any) -> Iterator[str]:
    if isinstance(document, str):
        yield document
    elif isinstance(document, dict):
        for value in document.values():
            yield from _texts(value)
    elif isinstance(document, list):
        for value in document:
            yield from _texts(value)
