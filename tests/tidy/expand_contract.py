"""The rule for migrations: a release may only add to the schema, so that the code of the release before runs on it.

What code still uses is never removed, renamed, changed or restricted (docs/deploy/upgrade.md). A later release removes it, in a
migration whose first line says since which release no code uses it: `-- contract: since 0.2.0 no code uses it`. A migration that
replaces a constraint by a wider one begins with `-- expand: permits all that was permitted`.
"""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[2]

BEFORE_THE_RULE = {"auth": "0012", "notification": "0009", "transaction": "0011", "wallet": "0007"}
"""The newest revisions when the rule was made: nothing older is replaced while it runs."""

CONTRACT = re.compile(r"\A-- contract: since (?P<version>\d+\.\d+\.\d+) no code uses it\n")

WIDER = re.compile(r"\A-- expand: permits all that was permitted\n")
CONSTRAINT = r"\bADD (CONSTRAINT|CHECK|UNIQUE|PRIMARY KEY|FOREIGN KEY|EXCLUDE)\b"

FORBIDDEN = {
    r"\bDROP (TABLE|COLUMN|VIEW|MATERIALIZED VIEW|FUNCTION|TYPE|SEQUENCE|SCHEMA|DEFAULT)\b": "removes what old code uses",
    r"\bRENAME\b": "renames what old code uses",
    r"\bALTER (COLUMN )?\S+ (SET DATA )?TYPE\b": "changes the type of a column",
    r"\bSET NOT NULL\b": "refuses rows that old code writes",
    CONSTRAINT: "refuses rows that old code writes",
    r"\bCREATE UNIQUE INDEX\b": "refuses rows that old code writes",
    r"\bADD COLUMN (?!.*\b(DEFAULT|GENERATED)\b).*\bNOT NULL\b": "refuses rows that old code writes",
    r"\b(REVOKE|TRUNCATE)\b": "takes something away from old code",
}
"""By pattern of one action: why old code could not go on."""


def faults(script: str, *, version: str) -> list[str]:
    """What in a migration breaks the rule; `version` is the release that it belongs to."""
    contract = CONTRACT.match(script)
    if contract is not None:
        is_earlier = _numbers(contract["version"]) < _numbers(version)
        return [] if is_earlier else [f"{contract['version']} is not earlier than this release, {version}"]
    statements = _statements(script)
    own = {name for each in statements for name in re.findall(r"\ACREATE TABLE (?:IF NOT EXISTS )?(\S+)", each)}
    return [
        f"{why}: {action}"
        for statement in statements
        if not own & set(re.findall(r"\A(?:ALTER TABLE|CREATE UNIQUE INDEX \S+ ON) (\S+)", statement))
        for action in _actions(statement)
        for pattern, why in FORBIDDEN.items()
        if re.search(pattern, action) and not (pattern == CONSTRAINT and WIDER.match(script))
    ]


def released_version() -> str:
    """The version of the distribution of the services."""
    version: str = tomllib.loads((ROOT / "services" / "pyproject.toml").read_text())["project"]["version"]
    return version


def _statements(script: str) -> list[str]:
    """The statements in capitals of keywords as written, without comments, quoted text and bodies of functions."""
    text = re.sub(r"--[^\n]*", "", script)
    text = re.sub(r"(\$\w*\$).*?\1", "''", text, flags=re.DOTALL)
    text = re.sub(r"'[^']*'", "''", text)
    return [" ".join(each.split()) for each in text.split(";") if each.strip()]


def _actions(statement: str) -> list[str]:
    """The actions of an ALTER TABLE; any other statement is one."""
    if not statement.startswith("ALTER TABLE"):
        return [] if statement.startswith("CREATE TABLE") else [statement]
    flat = statement
    while (inner := re.sub(r"\([^()]*\)", "", flat)) != flat:
        flat = inner
    return flat.split(",")


def _numbers(version: str) -> list[int]:
    return [int(part) for part in version.split(".")]
