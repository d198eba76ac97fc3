"""The guards of a deployment: settings from files, and a reversal that is started as a job."""

from __future__ import annotations

from tests.mutation.mutant import Change, Mutant

SETTINGS = "services/chassis/settings.py"
REVERSAL = "services/transaction/reversal.py"

FILES = "tests/unit/chassis/test_settings_files.py"
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
)
