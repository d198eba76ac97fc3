"""The guards of a deployment: settings from files, and a reversal that is started as a job."""

from __future__ import annotations

from tests.mutation.mutant import Change, Mutant

SETTINGS = "services/chassis/settings.py"
READINESS = "services/chassis/readiness.py"
REVERSAL = "services/transaction/reversal.py"

FILES = "tests/unit/chassis/test_settings_files.py"
SCHEMA = "tests/integration/chassis/test_schema_revision.py"
WAITS = f"{SCHEMA}::test_a_role_waits_for_its_database_and_migration"
MIGRATIONS = "tests/integration/test_migrations.py"
TIMING = "tests/unit/transaction/test_reversal_timing.py"
EVERY_SETTING = f"{FILES}::test_every_setting_may_be_a_file"

MUTANTS = (
    Mutant(
        name="setting-given-twice",
        guard="a setting that is a variable and a file stops the start",
        changes=[Change(SETTINGS, "        if found and len(given) > 1:\n", "        if found and len(given) > 9:\n")],
        works=EVERY_SETTING,
        caught_by=[
            f"{FILES}::test_a_setting_given_twice_stops_the_start",
            f"{FILES}::test_two_files_of_one_setting_stop_the_start",
        ],
    ),
    Mutant(
        name="missing-secrets-folder",
        guard="a missing folder of secrets stops the start",
        changes=[
            Change(
                SETTINGS,
                '        return [f"{PREFIX}SECRETS_DIR: {folder} cannot be read ({error.strerror})"]\n',
                '        return [f"{PREFIX}SECRETS_DIR: {folder} cannot be read ({error.strerror})"][:0]\n',
            )
        ],
        works=EVERY_SETTING,
        caught_by=[f"{FILES}::test_a_missing_folder_stops_the_start"],
    ),
    Mutant(
        name="reversal-without-a-last-pass",
        guard="successive jobs of the reversal leave no gap of more than 10 s",
        changes=[
            Change(
                REVERSAL,
                "        is_last = time.monotonic() >= ends_at\n",
                "        is_last = time.monotonic() + every_seconds >= ends_at\n",
            )
        ],
        works=f"{TIMING}::test_a_pass_in_progress_is_finished",
        caught_by=[f"{TIMING}::test_successive_jobs_leave_no_long_gap", f"{TIMING}::test_a_job_ends_with_a_last_pass"],
    ),
    Mutant(
        name="ready-on-an-old-schema",
        guard="a role is not ready while the schema is older than its code",
        changes=[
            Change(
                READINESS,
                "        is_outdated = found is None or found < self._needed\n",
                "        is_outdated = found is None\n",
            )
        ],
        works=WAITS,
        caught_by=[f"{SCHEMA}::test_readiness_depends_on_the_revision"],
    ),
    Mutant(
        name="revision-read-once",
        guard="a role is not ready after its database was replaced by an older one",
        changes=[
            Change(
                READINESS,
                "        async with connection(self._pool) as borrowed:\n"
                "            is_readable = await borrowed.fetchval(statements.can_read_revision)\n",
                "        if getattr(self, '_accepted', False):\n"
                "            return\n"
                "        async with connection(self._pool) as borrowed:\n"
                "            is_readable = await borrowed.fetchval(statements.can_read_revision)\n",
            ),
            Change(
                READINESS,
                "        self._is_outdated = is_outdated\n",
                "        self._is_outdated = is_outdated\n        self._accepted = not is_outdated\n",
            ),
        ],
        works=WAITS,
        caught_by=[f"{SCHEMA}::test_readiness_depends_on_the_revision"],
    ),
    Mutant(
        name="work-on-an-old-schema",
        guard="a role serves and consumes nothing while the schema is older than its code",
        changes=[
            Change(
                READINESS,
                "            except SchemaOutdated:\n                pass\n",
                "            except SchemaOutdated:\n                return\n",
            )
        ],
        works=f"{SCHEMA}::test_readiness_depends_on_the_revision[auth]",
        caught_by=[f"{SCHEMA}::test_nothing_is_served_or_consumed_on_an_old_schema"],
    ),
    Mutant(
        name="ready-before-it-works",
        guard="a role is not ready before it listens or consumes",
        changes=[Change("services/chassis/roles.py", "    runtime.health.starting = True\n", "")],
        works=f"{SCHEMA}::test_readiness_depends_on_the_revision[auth]",
        caught_by=[WAITS],
    ),
    Mutant(
        name="older-migration-fails",
        guard="after a rollback the older migrations leave the newer database alone and succeed",
        changes=[
            Change(
                "services/chassis/migrations.py",
                "        if found is not None and found > revisions.newest(service):\n",
                "        if found is None:\n",
            )
        ],
        works=f"{MIGRATIONS}::test_schema_sql_matches_the_migrations[wallet]",
        caught_by=[f"{MIGRATIONS}::test_an_older_migration_changes_nothing"],
    ),
)
