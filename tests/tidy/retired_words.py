"""Words that this project no longer uses, and where they are left.

Identifiers and prose are both split into words (`DeadLetterDesk`, `dead_letter_desk` and "dead-letter desk" are the same), so
one list holds for source, SQL, pages and the OpenAPI document. `python -m tests.tidy.retired_words [FOLDER ...]` lists all uses.
"""

from __future__ import annotations

import bisect
import json
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]

INSTEAD = {
    "twin, twins": "concurrent duplicate",
    "bell, bells": "wake-up, notify",
    "desk": "dead-letter API",
    "keeper": "archiver",
    "vault": "keyring",
    "pseudonym, pseudonyms": "hash key",
    "settle, settles, settled, settling": "finalize, final (settlement is kept for paying out merchants)",
    "somebody, nobody, whoever, everybody, anybody, stranger, strangers": "the caller, the user, the request",
    "letter, letters": "email (dead letter stays)",
    "notices": "notifications",
    "rehearse, rehearses, rehearsed": "simulated failure (a rehearsal is that of a deployment)",
    "thaw, thaws, thawed": "unfreeze",
    "of the world, the world s": "external account",
    "furnish, furnishes, furnished": "fund",
    "for ever": "permanently, until cancelled",
    "foresee, foresees, foreseen, prospect, prospects": "preview",
    "database away, cache away, upstream away, broker away": "unavailable",
    "tell ended": "announce revocation",
    "forgive, forgives, forgiven": "reset",
    "crowd, crowds, crowded": "burst, connection limit",
    "allowance, allowances": "quota",
    "door, doors": "gateway, edge",
    "anew": "again",
    "judge, judges, judged": "evaluate, check",
    "tally, tallies": "counter",
    "outlook": "preview",
    "painted": "faked",
    "the fence": "outcome record",
    "cache given up, cache found again": "cache_circuit_opened, cache_circuit_closed",
    "operator let in": "operator_authorized",
    "role stop given up": "role_shutdown_timed_out",
    "seal head noted": "seal_head_recorded",
    "transfer news, own session, new disable, whole dead letter": "TransferUpdate, SessionInfo, DisableUser, DeadLetterDetail",
}
"""Retired words and word sequences, and what to write instead."""

RETIRED_CODES = frozenset(
    {
        *(
            "api_keys_exhausted",
            "letter_token_invalid",
            "own_account",
            "passwords_busy",
            "totp_already_on",
            "totp_not_on",
        ),
    }
)
"""Codes of problems that have other names now."""

PLAIN = (
    "dead letter",
    "dead letters",
    "capital letter",
    "capital letters",
    "lower case letter",
    "lower case letters",
    "letters and digits",
    "letters or digits",
    "letters digits",
    "one letter of each word",
    "as nobody",
    "user nobody",
    "account nobody",
    "amqp nobody",
    "nobody example com",
    "tokens of letters that wait to be sent",
    "notices transfers settled",
    "events transfers settled",
    "notices told once",
    "transfers terminal for ever",
)
"""The alphabet, `nobody` as a user of Unix or in an address, an input of a key derivation, which cannot change, a queue that is
deleted, and lines of old revisions that mutants patch."""

ALLOWED = (
    "CHANGELOG.md",
    "tests/integration/auth/test_migrations.py",
    "tests/integration/test_upgrade.py",
    "tests/tidy/retired_words.py",
    "tests/tidy/test_retired_words.py",
)
"""Files that name retired words on purpose: the table of renames, tests of older databases, and this list with its test."""

OLD_REVISIONS = {"auth": 11, "notification": 6, "transaction": 7, "wallet": 6}
"""The last revision of each service that has retired words. Revisions are never edited; one that renames a column names it."""

SHARED_SCRIPTS = frozenset(f"services/chassis/sql/{name}.sql" for name in ("audit_log", "dead_letters", "outbox"))
"""Scripts that old revisions of several services run. `schema.sql` shows what all revisions make."""

LEFT_OUT = re.compile(
    r"(^|/)(\.(git|venv|payflow|deploy|hypothesis)|[^/]*_cache|__pycache__|[^/]*\.egg-info|node_modules|build|dist)(/|$)"
)
SUFFIXES = frozenset(
    {
        ".alloy",
        ".py",
        ".sql",
        ".md",
        ".toml",
        ".yml",
        ".yaml",
        ".json",
        ".awk",
        ".js",
        ".mjs",
        ".css",
        ".html",
        ".sh",
        ".conf",
        ".example",
        ".tmpl",
    }
)
NAMES = frozenset({"Makefile", "run", "Dockerfile", ".dockerignore", "images.lock"})

_WORD = re.compile(r"[A-Z]+(?=[A-Z][a-z])|[A-Z]?[a-z]+|[A-Z]+")
_RETIRED = re.compile(
    r"\b(" + "|".join(sorted((word for words in INSTEAD for word in words.split(", ")), key=len, reverse=True)) + r")\b"
)
_PLAIN = re.compile(r"\b(" + "|".join(sorted(PLAIN, key=len, reverse=True)) + r")\b")


@dataclass(frozen=True, slots=True)
class Use:
    """One use of a retired word."""

    path: str
    line: int
    word: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.word!r}; instead: {instead_of(self.word)}"


def instead_of(word: str) -> str:
    """What to write for a retired word."""
    return next(text for words, text in INSTEAD.items() if word in words.split(", "))


def search(path: str, text: str) -> Iterator[Use]:
    """Uses of retired words in a text."""
    words, starts, lines, length = [], [], [], 0
    for number, line in enumerate(text.splitlines(), start=1):
        for match in _WORD.finditer(line):
            words.append(match[0].lower())
            starts.append(length)
            lines.append(number)
            length += len(match[0]) + 1
    joined = _PLAIN.sub(lambda match: "." * len(match[0]), " ".join(words))
    for match in _RETIRED.finditer(joined):
        yield Use(path, lines[bisect.bisect(starts, match.start()) - 1], match[0])


def is_old_revision(name: str) -> bool:
    """Whether a file is a revision of a database that keeps its words."""
    match = re.fullmatch(r"services/(\w+)/sql/migrations/(\d+)\.(py|sql)", name)
    if match is None:
        return name in SHARED_SCRIPTS or re.fullmatch(r"services/\w+/sql/schema\.sql", name) is not None
    return int(match[2]) <= OLD_REVISIONS.get(match[1], 0)


def files(folder: Path = ROOT) -> Iterator[Path]:
    """All files that were written by hand, or are generated and read by people."""
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(ROOT).as_posix()
        wanted = path.suffix in SUFFIXES or path.name in NAMES
        if wanted and path.is_file() and not (name in ALLOWED or LEFT_OUT.search(name) or is_old_revision(name)):
            yield path


def search_files(folder: Path = ROOT) -> Iterator[Use]:
    """Uses of retired words in files, and in their names."""
    for path in files(folder):
        name = path.relative_to(ROOT).as_posix()
        yield from (Use(name, 0, use.word) for use in search(name, name))
        yield from search(name, path.read_text())


def search_document(document: object) -> list[Use]:
    """Uses of retired words in the OpenAPI document."""
    return list(search("openapi.json", json.dumps(document, indent=1)))


if __name__ == "__main__":
    for folder in [Path(argument).resolve() for argument in sys.argv[1:]] or [ROOT]:
        for use in search_files(folder):
            print(use)
