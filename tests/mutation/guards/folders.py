"""The guards of a stack's folder: no other user of the machine reads it, and a copy leaves the original alone."""

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
MOVING = "tests/integration/local/test_moving.py"
COPIED = f"{MOVING}::test_processes_of_the_original_are_not_ended_from_a_copy"
RESTARTED = f"{MOVING}::test_a_copy_is_refused_while_its_original_runs_again"
MOVED_BROKER = f"{MOVING}::test_a_broker_starts_where_it_was_and_in_a_copied_folder"
SAME_BROKER = "tests/integration/local/test_engines.py::test_rabbitmq_keeps_confirmed_messages_through_kill_9"
STACK = "tests/integration/local/test_stack.py"
STOPPED = f"{STACK}::test_stop_ends_a_run_in_another_terminal"
COPY_REFUSED = f"{STACK}::test_a_copy_beside_the_running_original_is_refused"
ENVIRONMENT = "tests/unit/local/test_environment.py"
CONFIGURATION = "tests/integration/test_bad_configuration.py"
LEFTOVERS = "deploy/local/leftovers.py"
CHILD = f"{CHILDREN}::test_files_of_a_child_are_for_its_owner_alone"
KILLED = f"{CHILDREN}::test_killing_ends_children_that_left_the_group"
DATA_FOLDER = "tests/unit/local/test_home.py"
RENAMED = f"{DATA_FOLDER}::test_the_folder_down_of_an_earlier_version_is_renamed"
LEFT_TO_ITS_STACK = f"{DATA_FOLDER}::test_a_refused_start_leaves_the_folder_hold_to_the_running_stack"
RECORDED = f"{CHILDREN}::test_a_recorded_process_is_distinguished_from_a_later_one_with_its_id"

MUTANTS = (
    Mutant(
        name="existing-folder-stays-open",
        guard="an existing data folder is restricted to its owner at start",
        changes=[Change(HOME, "        files.restrict(self.path)\n", "")],
        works=SHARED,
        caught_by=[RESTRICTED],
    ),
    Mutant(
        name="folder-renamed-under-a-running-stack",
        guard="a start that is refused changes nothing of the running stack",
        changes=[Change(HOME, "            files.make_folder(self.logs)\n", "            self.rename_hold_folder()\n")],
        works=RENAMED,
        caught_by=[LEFT_TO_ITS_STACK],
    ),
    Mutant(
        name="links-of-the-folder-followed",
        guard="restricting a folder changes nothing outside it",
        changes=[Change(FILES, "            if not path.is_symlink():\n", "            if True:\n")],
        works=SHARED,
        caught_by=[RESTRICTED],
    ),
    Mutant(
        name="shared-folder-closed",
        guard="a folder of other users is not restricted",
        changes=[Change(HOME, "if foreign is not None:", "if False:")],
        works=RESTRICTED,
        caught_by=[SHARED],
    ),
    Mutant(
        name="new-files-open",
        guard="files of the stack are readable by their owner only",
        changes=[Change(FILES, "FILE_MODE = 0o600", "FILE_MODE = 0o644")],
        works=SHARED,
        caught_by=[WRITTEN],
    ),
    Mutant(
        name="new-folders-open",
        guard="folders of the stack are accessible to their owner only",
        changes=[Change(FILES, "    path.chmod(FOLDER_MODE)\n", ""), Change(FILES, "mode=FOLDER_MODE, ", "")],
        works=SHARED,
        caught_by=[WRITTEN],
    ),
    Mutant(
        name="children-keep-the-umask",
        guard="processes of the stack create files for their owner only",
        changes=[Change(PROCESS, "            umask=files.UMASK,\n", "")],
        works=KILLED,
        caught_by=[CHILD],
    ),
    Mutant(
        name="logs-open",
        guard="logs of the stack are readable by their owner only",
        changes=[Change(PROCESS, ", opener=files.owner_only", "")],
        works=KILLED,
        caught_by=[CHILD],
    ),
    Mutant(
        name="only-the-group-killed",
        guard="killing a process also kills children in groups of their own",
        changes=[Change(PROCESS, "    below = descendants(pid)\n", "    below: list[psutil.Process] = []\n")],
        works=CHILD,
        caught_by=[KILLED],
    ),
    Mutant(
        name="process-known-by-its-id-alone",
        guard="a later process with the id of a recorded one is not killed",
        changes=[Change(PROCESS, "identify(pid, programs) == dict(record) and is_alive(pid)", "is_alive(pid)")],
        works=KILLED,
        caught_by=[RECORDED],
    ),
    Mutant(
        name="foreign-variables-passed-on",
        guard="variables of the user's shell do not reach the processes of the stack",
        changes=[Change("deploy/local/environment.py", "if _is_kept(name)} | FIXED", "if name} | FIXED")],
        works=f"{ENVIRONMENT}::test_driver_variables_are_removed",
        caught_by=[f"{ENVIRONMENT}::test_a_foreign_variable_is_not_passed_on"],
    ),
    Mutant(
        name="driver-variables-accepted",
        guard="only the database URL decides how a role connects",
        changes=[
            Change("services/chassis/settings.py", "    faults = _driver_faults()\n", "    faults: list[str] = []\n")
        ],
        works="tests/unit/chassis/test_settings.py::test_other_postgresql_variables_are_accepted",
        caught_by=[f"{CONFIGURATION}::test_driver_variables_stop_the_start"],
    ),
    Mutant(
        name="copy-ends-the-original",
        guard="a copied data folder does not end processes of the original",
        changes=[Change(LEFTOVERS, "        return []\n", "        pass\n")],
        works=KILLED,
        caught_by=[COPIED],
    ),
    Mutant(
        name="copy-runs-beside-the-original",
        guard="a copied data folder does not start while the original runs",
        changes=[Change("deploy/local/commands.py", "        leftovers.refuse_copy(home.processes)\n", "")],
        works=STOPPED,
        caught_by=[COPY_REFUSED],
    ),
    Mutant(
        name="copy-runs-beside-the-restarted-original",
        guard="a folder copied from a running stack does not start while the original runs under other processes",
        changes=[Change(LEFTOVERS, "if not alive and _is_record_of(stored, original.path):", "if False:")],
        works=COPIED,
        caught_by=[RESTARTED],
    ),
    Mutant(
        name="moved-broker-kept",
        guard="the quorum queues of a moved broker are created again",
        changes=[Change("deploy/local/engines/rabbitmq.py", "        self._remove_data_if_moved()\n", "")],
        works=SAME_BROKER,
        caught_by=[MOVED_BROKER],
    ),
)
