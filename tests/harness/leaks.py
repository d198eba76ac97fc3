"""What must not stand in a log: the secrets that tests know of, and whatever looks like one."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from collections.abc import Set as AbstractSet
from pathlib import Path
from typing import Any, NamedTuple

LENGTH_MIN = 8
"""Anything shorter stands everywhere."""

LOOKS = {
    "token": ("eyJ", re.compile(r"\beyJ[\w-]{8,}\.[\w-]{8,}\.[\w-]{8,}")),
    "e-mail address": ("@", re.compile(r"[\w.+-]+@(?:[\w-]+\.)+[A-Za-z]{2,}")),
    "password in an address": ("://", re.compile(r"\w+://[^/\s:@\"]+:[^/\s@\"\[\]]+@")),
    "bearer": ("earer", re.compile(r"(?i)\bbearer\s+[\w.~+/-]{16,}")),
    "private key": ("-----BEGIN", re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----")),
    "password hash": ("$argon2", re.compile(r"\$argon2id?\$")),
}
"""What looks like a secret: the text without which a line need not be looked at any closer, and what it looks like."""

WORD = re.compile(r"[\w-]{8,}")
"""What most secrets are made of: looked up word by word, thousands of them cost no more than one."""

ENGINES = frozenset({"postgres", "rabbitmq", "redis"})
OURS_ALLOWED = re.compile(r"^(?:rabbit|payflow)[\w-]*@[\w.-]+$")
"""The name of a node of RabbitMQ has the form of an address."""

_spoken: set[str] = set()


class Leak(NamedTuple):
    """A secret in a log; what it was is not told again."""

    file: str
    line: int
    what: str


def remember(*secrets: str) -> None:
    """Have every log searched for these, whatever they look like."""
    _spoken.update(secret for secret in secrets if len(secret) >= LENGTH_MIN)


def spoken() -> frozenset[str]:
    """All that were remembered."""
    return frozenset(_spoken)


def secrets_of(home: Path) -> set[str]:
    """Every secret that a stack was given: passwords of its engines, keys of its roles."""
    return {text for text in _texts(json.loads((home / "secrets.json").read_text())) if len(text) >= LENGTH_MIN}


def search(folder: Path, secrets: AbstractSet[str]) -> list[Leak]:
    """Look through every log below a folder for these secrets, and for whatever looks like one."""
    words = {secret for secret in secrets if WORD.fullmatch(secret)}
    # What looks like a secret is found by its looks.
    others = {text for text in set(secrets) - words if not any(looks.fullmatch(text) for _, looks in LOOKS.values())}
    found = []
    for file in sorted(folder.rglob("*.log*")):
        with file.open(errors="replace") as lines:
            for number, line in enumerate(lines, start=1):
                hits = _in_line(line, words, others, is_engine=file.stem in ENGINES)
                found += [Leak(file.name, number, what) for what in hits]
    return found


def forged(folder: Path) -> list[Leak]:
    """Lines of our own processes that are no JSON object of the service that wrote them: somebody's input broke out."""
    return [
        Leak(file.name, number, "not a line of ours")
        for file in sorted(folder.glob("*.log"))
        if file.stem not in ENGINES
        for number, line in enumerate(file.read_text(errors="replace").split("\n"), start=1)
        if line.startswith("{") and not _is_ours(line, file.stem)
    ]


def _in_line(line: str, words: set[str], others: set[str], *, is_engine: bool) -> Iterator[str]:
    if not words.isdisjoint(WORD.findall(line)) or any(other in line for other in others):
        yield "a secret"
    for what, (mark, pattern) in LOOKS.items():
        if mark in line and [hit for hit in pattern.findall(line) if not (is_engine and OURS_ALLOWED.match(hit))]:
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
