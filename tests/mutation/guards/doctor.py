"""The guards of the doctor: what it must not call well, and that it touches no other cluster."""

from __future__ import annotations

from tests.mutation.mutant import Change, Mutant

FOLDER = "deploy/doctor"
TESTS = "tests/deploy/doctor"
CLUSTER = f"{TESTS}/test_cluster.py"
RELATIONS = f"{TESTS}/test_relations.py"
TARGETS = f"{TESTS}/test_targets.py"
WORKS = f"{CLUSTER}::test_a_deployment_that_is_well_has_only_unpinned_images"

OTHER_CLUSTER = 'found: list[Object] = Cluster(("kubectl",), None).get('
"""kubectl without a context takes the current one."""

MUTANTS = (
    Mutant(
        name="doctor-ignores-the-context",
        guard="every command goes to MicroK8s or to the context that is named, never to the current context of the user",
        changes=[
            Change(f"{FOLDER}/targets/microk8s.py", "found: list[Object] = chosen.get(", OTHER_CLUSTER),
        ],
        works=WORKS,
        caught_by=[f"{TARGETS}::test_only_the_named_context_is_read"],
    ),
    Mutant(
        name="doctor-reads-secrets",
        guard="of Secrets only the names are read",
        changes=[
            Change(
                f"{FOLDER}/targets/microk8s.py",
                '"get", "secrets", "--namespace", NAMESPACE, "--output=name"',
                '"get", "secrets", "--namespace", NAMESPACE, "--output=json"',
            )
        ],
        works=WORKS,
        caught_by=[f"{TARGETS}::test_microk8s_is_only_read"],
    ),
    Mutant(
        name="doctor-misses-a-reversal-that-never-ran",
        guard="a CronJob without a success fails",
        changes=[
            Change(
                f"{FOLDER}/cluster.py",
                "    elif succeeded is None and age <= seconds_max:",
                "    elif succeeded is None:",
            )
        ],
        works=WORKS,
        caught_by=[f"{CLUSTER}::test_one_broken_object_is_one_line"],
    ),
    Mutant(
        name="doctor-misses-a-silent-job",
        guard="a job whose metric is 0 or missing has never succeeded",
        changes=[Change(f"{FOLDER}/processes.py", "        if not at:\n", "        if at < 0:\n")],
        works=f"{TESTS}/test_processes.py::test_a_stack_that_is_well_has_no_findings",
        caught_by=[f"{TESTS}/test_processes.py::test_planted_faults_are_found"],
    ),
    Mutant(
        name="doctor-calls-an-open-edge-closed",
        guard="a forbidden edge that is open fails",
        changes=[
            Change(
                f"{FOLDER}/networks.py",
                '                if result == "open":\n',
                '                if result == "refused":\n',
            )
        ],
        works=f"{RELATIONS}::test_edges_are_those_of_the_code",
        caught_by=[f"{RELATIONS}::test_a_forbidden_edge_must_be_closed"],
    ),
    Mutant(
        name="doctor-believes-a-dead-target",
        guard="an edge to an address that no process reaches proves nothing",
        changes=[
            Change(
                f"{FOLDER}/networks.py", "                elif edge not in opened:\n", "                elif False:\n"
            )
        ],
        works=f"{RELATIONS}::test_edges_are_those_of_the_code",
        caught_by=[f"{RELATIONS}::test_a_forbidden_edge_must_be_closed"],
    ),
    Mutant(
        name="doctor-prints-a-secret",
        guard="a line about a weak secret has its name, not its value",
        changes=[
            Change(
                f"{FOLDER}/secrets.py",
                'fail(CHECK, f"{name} in {path} {why}"',
                'fail(CHECK, f"{name} in {path} {why}: {values[name]}"',
            )
        ],
        works=f"{RELATIONS}::test_only_the_owner_reads_the_store",
        caught_by=[f"{RELATIONS}::test_secrets_are_as_strong_as_a_role_requires"],
    ),
    Mutant(
        name="doctor-ignores-failures",
        guard="a failure is the exit code",
        changes=[Change(f"{FOLDER}/findings.py", 'any(finding.level == "fail" for', 'all(finding.level == "fail" for')],
        works=f"{RELATIONS}::test_only_the_owner_reads_the_store",
        caught_by=[f"{RELATIONS}::test_the_report_has_a_line_for_each_finding_and_a_summary"],
    ),
)
