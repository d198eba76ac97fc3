"""The guards of production: an unknown depth removes no worker, commits have a copy, nothing builds without its values."""

from __future__ import annotations

from tests.mutation.mutant import Change, Mutant

COMPONENTS = "deploy/k8s/components"
PROMETHEUS = f"{COMPONENTS}/keda-prometheus/scaled-object.yaml"
POSTGRES = f"{COMPONENTS}/cnpg/cluster.yaml"
RABBITMQ = f"{COMPONENTS}/rabbitmq-operator/cluster.yaml"
SECRETS = "deploy/secrets/production.py"
ALLOW_LISTS = "tests/deploy/k8s/allow_lists.py"

SCALING = "tests/deploy/k8s/test_scaling.py"
PRODUCTION = "tests/deploy/k8s/test_production.py"
PODS = "tests/deploy/k8s/test_production_pods.py"
FIELDS = "tests/deploy/k8s/test_custom_resources.py"
EXACT_EDGES = "test_exactly_the_edges_of_the_code_and_of_the_operators"
BUILDS = f"{PRODUCTION}::test_one_host_name_everywhere"

MUTANTS = (
    Mutant(
        name="dead-exporter-is-zero",
        guard="without a figure the autoscaler has an error, and does not read zero",
        changes=[Change(PROMETHEUS, '      ignoreNullValues: "false"\n', "")],
        works=f"{SCALING}::test_query_names_what_the_relay_exports",
        caught_by=[f"{SCALING}::test_dead_exporter_is_not_zero"],
    ),
    Mutant(
        name="relays-are-added-up",
        guard="the depth is that of the queue, whatever number of relays report it",
        changes=[Change(PROMETHEUS, "query: max(", "query: sum(")],
        works=BUILDS,
        caught_by=[f"{SCALING}::test_query_yields_the_depth"],
    ),
    Mutant(
        name="fallback-removes-workers",
        guard="a depth that stays unknown never removes workers",
        changes=[Change(PROMETHEUS, "    replicas: 8\n", "    replicas: 2\n")],
        works=f"{SCALING}::test_query_names_what_the_relay_exports",
        caught_by=[f"{SCALING}::test_unknown_depth_never_removes_workers"],
    ),
    Mutant(
        name="more-workers-than-connections",
        guard="all workers that may run have connections to PostgreSQL",
        changes=[Change(PROMETHEUS, "  maxReplicaCount: 8\n", "  maxReplicaCount: 40\n")],
        works=f"{SCALING}::test_query_names_what_the_relay_exports",
        caught_by=[f"{SCALING}::test_connections_fit_in_production"],
    ),
    Mutant(
        name="commit-without-a-standby",
        guard="no write is acknowledged that only the primary has",
        changes=[Change(POSTGRES, "      dataDurability: required\n", "      dataDurability: preferred\n")],
        works=BUILDS,
        caught_by=[f"{PRODUCTION}::test_commit_waits_for_a_standby"],
    ),
    Mutant(
        name="any-standby-is-promoted",
        guard="only a standby that has every acknowledged commit becomes the primary",
        changes=[Change(POSTGRES, "      failoverQuorum: true\n", "")],
        works=BUILDS,
        caught_by=[f"{PRODUCTION}::test_commit_waits_for_a_standby"],
    ),
    Mutant(
        name="minority-continues",
        guard="a node of RabbitMQ without the other two pauses",
        changes=[Change(RABBITMQ, "= pause_minority", "= ignore")],
        works=BUILDS,
        caught_by=[f"{PRODUCTION}::test_broker_keeps_a_majority"],
    ),
    Mutant(
        name="every-pod-reaches-the-primary",
        guard="only roles and jobs that use PostgreSQL may connect to it",
        changes=[
            Change(
                f"{COMPONENTS}/cnpg/network.yaml",
                '    - podSelector: {matchLabels: {payflow/uses-postgres: "true"}}\n',
                "    - podSelector: {}\n",
            )
        ],
        works=BUILDS,
        caught_by=[f"{PODS}::{EXACT_EDGES}"],
    ),
    Mutant(
        name="restore-without-a-comparison",
        guard="production has what compares the databases after a restore, and discards what is newer",
        changes=[Change("deploy/k8s/overlays/production/kustomization.yaml", "- ../../components/after-restore\n", "")],
        works=BUILDS,
        caught_by=[f"{PRODUCTION}::test_steps_after_a_restore_are_ready_to_run", f"{PODS}::{EXACT_EDGES}"],
    ),
    Mutant(
        name="reset-by-the-clock",
        guard="what discards sessions, queues and caches never runs by itself",
        changes=[Change(f"{COMPONENTS}/after-restore/cronjob.yaml", "  suspend: true\n", "")],
        works=BUILDS,
        caught_by=[f"{PRODUCTION}::test_steps_after_a_restore_are_ready_to_run"],
    ),
    Mutant(
        name="restore-starts-roles",
        guard="the command that restores the server applies nothing else",
        changes=[
            Change(
                "deploy/k8s/overlays/production/redis.yaml",
                "name: redis\n  labels:\n    app.kubernetes.io/name: redis",
                "name: redis\n  labels:\n    app.kubernetes.io/name: postgres",
            )
        ],
        works=BUILDS,
        caught_by=[f"{PRODUCTION}::test_a_restore_applies_postgres_alone"],
    ),
    Mutant(
        name="production-without-backups",
        guard="the secrets of production are written only with the keys of the object store for backups",
        changes=[Change(SECRETS, "    if missing:\n", "    if False:\n")],
        works=BUILDS,
        caught_by=[f"{PRODUCTION}::test_secrets_of_production_need_the_object_store"],
    ),
    Mutant(
        name="unknown-fields-pass",
        guard="a field of a custom resource that its project does not define is a fault",
        changes=[Change(ALLOW_LISTS, "        if allowed is None:\n", "        if False:\n")],
        works=BUILDS,
        caught_by=[f"{FIELDS}::test_every_misspelt_field_is_found"],
    ),
)
