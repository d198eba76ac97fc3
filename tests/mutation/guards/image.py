"""The guards of the image and its rehearsal: digests are real, secrets get neither into a layer nor into an environment."""

from __future__ import annotations

from tests.mutation.mutant import Change, Mutant

LOCK = "tests/deploy/image/test_lock.py"
IMAGE = "tests/deploy/image/test_image.py"
STACK = "tests/deploy/rehearsal/test_stack.py"

MUTANTS = (
    Mutant(
        name="any-text-is-a-digest",
        guard="only a digest from the registry is written to images.lock",
        changes=[
            Change("deploy/image/lock.py", "        if not _DIGEST.fullmatch(digest):\n", "        if not digest:\n")
        ],
        works=f"{LOCK}::test_pinning_writes_the_lock_and_every_user",
        caught_by=[f"{LOCK}::test_a_digest_that_is_none_changes_nothing"],
    ),
    Mutant(
        name="build-reads-every-file",
        guard="the build gets only the files that it copies",
        changes=[Change(".dockerignore", "\n*\n", "\n")],
        works=f"{IMAGE}::test_the_image_runs_as_a_user_without_rights",
        caught_by=[f"{IMAGE}::test_the_build_reads_only_what_it_copies"],
    ),
    Mutant(
        name="secrets-in-inspect-unnoticed",
        guard="a secret in docker inspect fails the rehearsal",
        changes=[
            Change(
                "deploy/rehearsal/scenario.py",
                "if any(value in text for value in values))",
                "if all(value == text for value in values))",
            )
        ],
        works=f"{STACK}::test_containers_without_secrets_pass",
        caught_by=[f"{STACK}::test_a_secret_in_docker_inspect_fails_the_rehearsal"],
    ),
    Mutant(
        name="stand-in-takes-any-variable",
        guard="a stand-in refuses variables that the official image does not have",
        changes=[
            Change(
                "deploy/rehearsal/standins/postgres/docker-entrypoint.sh",
                '[[ "$known" =~ [[:space:]]"$name"[[:space:]] ]] || refuse',
                "true || refuse",
            )
        ],
        works="tests/deploy/rehearsal/test_standins.py::test_other_commands_run_as_they_are",
        caught_by=["tests/deploy/rehearsal/test_standins.py::test_unknown_variables_end_the_start"],
    ),
)
