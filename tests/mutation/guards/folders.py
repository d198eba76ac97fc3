"""The guards of a stack's folder: no other user of the machine reads it."""

from __future__ import annotations

from tests.mutation.mutant import Change, Mutant

FILES = "deploy/local/files.py"
HOME = "deploy/local/home.py"
PROCESS = "deploy/local/process.py"
PERMISSIONS = "tests/integration/local/test_permissions.py"
CHILDREN = "tests/integration/local/test_process.py"
RESTRICTED = f"{PERMISSIONS}::test_an_existing_folder_is_restricted_at_the_start"
SHARED = f"{PERMISSIONS}::test_a_shared_folder_with_other_things_is_refused"
WRITTEN = f"{PERMISSIONS}::test_files_are_for_their_owner_alone"
CHILD = f"{CHILDREN}::test_what_a_child_writes_is_for_its_owner_alone"
KILLED = f"{CHILDREN}::test_killing_ends_children_that_left_the_group"

MUTANTS = (
    Mutant(
        name="existing-folder-stays-open",
        guard="an existing data folder is restricted to its owner at the start",
        changes=[Change(HOME, "        files.restrict(self.path)\n", "")],
        works=SHARED,
        caught_by=[RESTRICTED],
    ),
    Mutant(
        name="links-of-the-folder-followed",
        guard="restricting a folder changes nothing outside of it",
        changes=[Change(FILES, "            if not path.is_symlink():\n", "            if True:\n")],
        works=SHARED,
        caught_by=[RESTRICTED],
    ),
    Mutant(
        name="shared-folder-closed",
        guard="a folder of others is not taken away from them",
        changes=[Change(HOME, "if foreign is not None:", "if False:")],
        works=RESTRICTED,
        caught_by=[SHARED],
    ),
    Mutant(
        name="new-files-open",
        guard="files of the stack are written for their owner alone",
        changes=[Change(FILES, "FILE_MODE = 0o600", "FILE_MODE = 0o644")],
        works=SHARED,
        caught_by=[WRITTEN],
    ),
    Mutant(
        name="new-folders-open",
        guard="folders of the stack are made for their owner alone",
        changes=[Change(FILES, "    path.chmod(FOLDER_MODE)\n", ""), Change(FILES, "mode=FOLDER_MODE, ", "")],
        works=SHARED,
        caught_by=[WRITTEN],
    ),
    Mutant(
        name="children-keep-the-umask",
        guard="processes of the stack write for their owner alone",
        changes=[Change(PROCESS, "                umask=files.UMASK,\n", "")],
        works=KILLED,
        caught_by=[CHILD],
    ),
    Mutant(
        name="logs-open",
        guard="logs of the stack are for their owner alone",
        changes=[Change(PROCESS, ", opener=files.owner_only", "")],
        works=KILLED,
        caught_by=[CHILD],
    ),
)
