"""The guards of `make compose-up` and of the Compose file: data keep their secrets, and containers reach what they call."""

from __future__ import annotations

from tests.mutation.mutant import Change, Mutant

UP = "deploy/compose/up.py"
DOWN = "deploy/compose/down.py"
PROJECT = "deploy/compose/project.py"
STORE = "deploy/secrets/store.py"
FILE = "deploy/compose/compose.yaml"
TESTS = "tests/deploy/compose/test_up.py"
FILE_TESTS = "tests/deploy/compose/test_file.py"
STARTED = f"{TESTS}::test_a_start_prints_what_is_needed_next"
READ = f"{FILE_TESTS}::test_images_are_those_of_the_lock"
KEPT = f"{TESTS}::test_down_keeps_the_data"

MUTANTS = (
    Mutant(
        name="new-secrets-over-old-data",
        guard="volumes without their secrets stop the start",
        changes=[Change(UP, "    refuse_lost_secrets(project.folder, project.volumes())\n", "")],
        works=STARTED,
        caught_by=[f"{TESTS}::test_data_without_secrets_stop_the_start"],
    ),
    Mutant(
        name="backup-without-a-volume",
        guard="a start with backups needs their volume, before anything runs",
        changes=[Change(UP, "    require_volumes(project.missing_volumes())\n", "")],
        works=STARTED,
        caught_by=[f"{TESTS}::test_backups_need_their_volume"],
    ),
    Mutant(
        name="one-lost-secret-is-generated",
        guard="each secret that data depend on must exist",
        changes=[Change(STORE, '("postgres:payflow", "rabbitmq", "auth_secret")', '("postgres:payflow", "rabbitmq")')],
        works=STARTED,
        caught_by=[f"{TESTS}::test_the_secrets_of_data_are_known"],
    ),
    Mutant(
        name="a-failed-start-keeps-running",
        guard="a first start that fails leaves nothing half-started",
        changes=[Change(UP, "        if not ran_before:\n", "        if False:\n")],
        works=STARTED,
        caught_by=[f"{TESTS}::test_a_job_that_fails_is_named_and_everything_stops"],
    ),
    Mutant(
        name="a-failed-update-stops-all",
        guard="an update that fails leaves the running containers",
        changes=[Change(UP, "        if not ran_before:\n", "        if True:\n")],
        works=STARTED,
        caught_by=[f"{TESTS}::test_an_update_that_fails_leaves_what_runs"],
    ),
    Mutant(
        name="jobs-may-still-run",
        guard="a start has ended when its jobs have",
        changes=[Change(PROJECT, 'is_job=service.get("restart") == "no"', "is_job=False")],
        works=f"{TESTS}::test_down_keeps_the_data",
        caught_by=[f"{TESTS}::test_a_start_waits_for_its_jobs"],
    ),
    Mutant(
        name="the-shell-switches-on-demo",
        guard="demo mode is chosen by the command, not by a variable of the shell",
        changes=[Change(PROJECT, '            "PAYFLOW_DEMO": "1" if "demo" in profiles else "0",\n', "")],
        works=STARTED,
        caught_by=[f"{TESTS}::test_demo_mode_is_chosen_by_the_command_alone"],
    ),
    Mutant(
        name="data-are-removed-at-once",
        guard="data are removed only after a confirmation",
        changes=[Change(DOWN, '        raise DeployError("nothing was removed")\n', "        pass\n")],
        works=KEPT,
        caught_by=[f"{TESTS}::test_data_are_removed_only_after_a_confirmation"],
    ),
    Mutant(
        name="the-gateway-reaches-the-database",
        guard="a container shares a network only with what it calls",
        changes=[Change(FILE, "networks: [public, gateway-cache,", "networks: [public, database, gateway-cache,")],
        works=READ,
        caught_by=[f"{FILE_TESTS}::test_containers_share_a_network_only_for_a_call"],
    ),
    Mutant(
        name="a-second-port-is-published",
        guard="only the gateway is published",
        changes=[
            Change(
                FILE,
                "    command: [services.auth, api]\n",
                '    command: [services.auth, api]\n    ports: ["8001:8000"]\n',
            )
        ],
        works=READ,
        caught_by=[f"{FILE_TESTS}::test_only_the_gateway_is_published"],
    ),
    Mutant(
        name="roles-start-before-the-migration",
        guard="a role starts after its migration has ended",
        changes=[
            Change(
                FILE,
                "      redis: {condition: service_healthy}\n      auth-migrate: {condition: service_completed_successfully}\n",
                "      redis: {condition: service_healthy}\n",
            )
        ],
        works=READ,
        caught_by=[f"{FILE_TESTS}::test_everything_starts_after_what_it_needs"],
    ),
)
