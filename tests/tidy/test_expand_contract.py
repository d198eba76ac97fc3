"""Migrations keep the rule that lets the release before run on the new schema."""

from __future__ import annotations

import pytest

from services.chassis import revisions
from tests.tidy import expand_contract
from tests.tidy.expand_contract import BEFORE_THE_RULE, faults


@pytest.mark.parametrize("service", BEFORE_THE_RULE)
def test_migrations_only_add(service: str) -> None:
    """Guarantee 62: no migration takes away what the release before uses; see the rule in docs/deploy/upgrade.md."""
    scripts = sorted((revisions.SERVICES / service / "sql" / "migrations").glob("*.sql"))
    version = expand_contract.released_version()
    broken = {
        script.name: found
        for script in scripts
        if script.stem > BEFORE_THE_RULE[service] and (found := faults(script.read_text(), version=version))
    }

    assert scripts
    assert {} == broken


@pytest.mark.parametrize(
    "script",
    [
        "ALTER TABLE transfers DROP COLUMN note;",
        "DROP TABLE transfers;",
        "ALTER TABLE transfers RENAME COLUMN note TO remark;",
        "ALTER TABLE transfers RENAME TO payments;",
        "ALTER TABLE transfers ALTER COLUMN amount TYPE numeric;",
        "ALTER TABLE transfers ALTER amount SET DATA TYPE numeric;",
        "ALTER TABLE transfers ALTER COLUMN note SET NOT NULL;",
        "ALTER TABLE transfers ALTER COLUMN note DROP DEFAULT;",
        "ALTER TABLE transfers ADD COLUMN note text NOT NULL;",
        "ALTER TABLE transfers ADD COLUMN a text, ADD COLUMN b text NOT NULL, ADD COLUMN c integer DEFAULT 0;",
        "ALTER TABLE transfers ADD CONSTRAINT positive CHECK (amount > 0) NOT VALID;",
        "CREATE UNIQUE INDEX transfers_by_note ON transfers (note);",
        "REVOKE SELECT ON transfers FROM payflow_transaction;",
        "CREATE TABLE other (id uuid);\n-- one more\nALTER TABLE\n    transfers\n    DROP COLUMN note;",
        "-- expand: permits all that was permitted\nALTER TABLE transfers DROP COLUMN note;",
        "-- contract: since 0.2.0 no code uses it\nALTER TABLE transfers DROP COLUMN note;",
    ],
)
def test_what_old_code_uses_is_not_taken_away(script: str) -> None:
    """Removed, renamed, changed or restricted, also after other statements; removed before a release that does not use it."""
    assert 1 == len(faults(script, version="0.2.0"))


@pytest.mark.parametrize(
    "script",
    [
        "ALTER TABLE transfers ADD COLUMN note text;",
        "ALTER TABLE transfers ADD COLUMN amount numeric(12, 2) NOT NULL DEFAULT 0, ADD COLUMN note text;",
        "CREATE TABLE notes (id uuid PRIMARY KEY, text text NOT NULL, CONSTRAINT filled CHECK (text <> ''));",
        "CREATE TABLE notes (id uuid);\nALTER TABLE notes ADD CONSTRAINT one UNIQUE (id);\nCREATE UNIQUE INDEX n ON notes (id);",
        "CREATE INDEX CONCURRENTLY IF NOT EXISTS transfers_by_note ON transfers (note);",
        "DROP INDEX CONCURRENTLY IF EXISTS transfers_by_note;",
        "GRANT SELECT ON transfers TO payflow_transaction;",
        "-- Here nothing is renamed: RENAME\nCOMMENT ON TABLE transfers IS 'DROP TABLE';",
        "CREATE FUNCTION f() RETURNS void LANGUAGE sql AS $$ DROP TABLE IF EXISTS temporary; $$;",
        "-- expand: permits all that was permitted\nALTER TABLE transfers ADD CONSTRAINT kinds CHECK (kind <> '') NOT VALID;",
        "-- contract: since 0.1.9 no code uses it\nALTER TABLE transfers DROP COLUMN note;",
    ],
)
def test_what_old_code_does_not_notice_is_permitted(script: str) -> None:
    """Additions, indexes, grants, and removals that say since which earlier release no code uses what they remove."""
    assert [] == faults(script, version="0.2.0")
