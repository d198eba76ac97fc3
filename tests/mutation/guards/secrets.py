"""The guards of a deployment's secrets: existing ones are kept, unusable ones are refused, and no other user reads them."""

from __future__ import annotations

from tests.mutation.mutant import Change, Mutant

STORE = "deploy/secrets/store.py"
CONSUMERS = "deploy/secrets/consumers.py"
FILES = "deploy/secrets/files.py"
PROVISION = "deploy/postgres/provision.sql"
TESTS = "tests/deploy/secrets/test_files.py"
KEPT = f"{TESTS}::test_secrets_are_generated_once"
REFUSED = f"{TESTS}::test_an_unusable_value_is_named_and_never_printed"
PRIVATE = f"{TESTS}::test_files_can_be_read_by_a_container_and_by_no_other_user"
LEAST = f"{TESTS}::test_a_container_knows_the_passwords_it_needs_and_no_other"
ENGINES = "tests/integration/local/test_engines.py"
PROVISIONED = f"{ENGINES}::test_provisioning_can_be_repeated"
LOCKED_OUT = f"{ENGINES}::test_provisioning_changes_passwords"

MUTANTS = (
    Mutant(
        name="secrets-are-generated-again",
        guard="a secret that exists is never replaced",
        changes=[
            Change(
                STORE,
                "        if name not in values:\n            values[name] = make()\n",
                "        if True:\n            values[name] = make()\n",
            )
        ],
        works=PRIVATE,
        caught_by=[KEPT],
    ),
    Mutant(
        name="secrets-of-others-are-overwritten",
        guard="a secret that was stored since the file was read is neither replaced nor lost",
        changes=[Change(STORE, "            values = self._values = self._read()\n", "            pass\n")],
        works=KEPT,
        caught_by=[
            "tests/deploy/secrets/test_store.py::test_two_objects_of_one_file_keep_all_secrets",
            "tests/deploy/k8s/test_production.py::test_secrets_of_production_fit_each_other_from_the_first_write",
        ],
    ),
    Mutant(
        name="any-password-is-written",
        guard="a password that a URL or a configuration would read differently is refused",
        changes=[Change(CONSUMERS, "if not _UNQUOTED.fullmatch(password):", "if not password:")],
        works=KEPT,
        caught_by=[REFUSED],
    ),
    Mutant(
        name="folders-of-secrets-are-open",
        guard="no other user of the machine reaches the files of secrets",
        changes=[
            Change(
                FILES,
                "    files.make_folder(folder)\n    wanted =",
                "    folder.mkdir(parents=True, exist_ok=True)\n    wanted =",
            ),
        ],
        works=KEPT,
        caught_by=[PRIVATE],
    ),
    Mutant(
        name="the-sealer-posts",
        guard="each container has only the logins that it needs",
        changes=[
            Change(
                CONSUMERS,
                '        role, database = f"payflow_{login}",',
                "        role, database = f\"payflow_{login.partition('_')[0]}\",",
            )
        ],
        works=KEPT,
        caught_by=[LEAST],
    ),
    Mutant(
        name="an-empty-password-is-set",
        guard="a missing password stops provisioning instead of locking a role out",
        changes=[Change(PROVISION, "WHERE length(password) < 12);", "WHERE false);")],
        works=PROVISIONED,
        caught_by=[LOCKED_OUT],
    ),
)
