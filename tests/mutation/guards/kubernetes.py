"""The guards of the Kubernetes manifests: what a pod may do, whom it reaches, and how it ends."""

from __future__ import annotations

from tests.mutation.mutant import Change, Mutant

DEPLOYMENT = "deploy/k8s/base/patches/deployment.yaml"
CRONJOB = "deploy/k8s/base/patches/cronjob.yaml"
NETWORKS = "deploy/k8s/base/networks.yaml"
REVERSAL = "deploy/k8s/base/transaction-reversal.yaml"
POSTGRES = "deploy/k8s/overlays/microk8s/postgres.yaml"

PODS = "tests/deploy/k8s/test_pod_security.py"
EDGES = "tests/deploy/k8s/test_networks.py"
WORKLOADS = "tests/deploy/k8s/test_workloads.py"
SETTINGS = "tests/deploy/k8s/test_settings.py"
DEPLOYING = "tests/deploy/k8s/test_deploying.py"
WORKS_DEPLOYING = f"{DEPLOYING}::test_an_old_cluster"
COMMANDS = "deploy/k8s/commands.py"
WORKS = "tests/deploy/k8s/test_schemas.py::test_each_resource_is_there_once"

MUTANTS = (
    Mutant(
        name="service-without-the-management-port",
        guard="the reset after a restore reaches the API of the broker",
        changes=[
            Change(
                "deploy/k8s/overlays/microk8s/rabbitmq.yaml",
                "  - {name: management, port: 15672, targetPort: management}\n",
                "",
            )
        ],
        works=WORKS,
        caught_by=[f"{EDGES}::test_services_have_the_ports_of_their_callers"],
    ),
    Mutant(
        name="pod-with-a-writable-root",
        guard="no role can write to the file system of its image",
        changes=[Change(DEPLOYMENT, "          readOnlyRootFilesystem: true\n", "")],
        works=WORKS,
        caught_by=[f"{PODS}::test_more_than_restricted"],
    ),
    Mutant(
        name="pod-with-capabilities",
        guard="every pod passes Pod Security restricted, or the namespace refuses it",
        changes=[Change(CRONJOB, "              capabilities: {drop: [ALL]}\n", "")],
        works=WORKS,
        caught_by=[f"{PODS}::test_every_pod_passes_restricted"],
    ),
    Mutant(
        name="pod-with-a-token",
        guard="no pod holds a token of the cluster",
        changes=[Change(DEPLOYMENT, "      automountServiceAccountToken: false\n", "")],
        works=WORKS,
        caught_by=[f"{PODS}::test_more_than_restricted"],
    ),
    Mutant(
        name="network-open-by-default",
        guard="a pod that no rule names is not reachable and reaches nothing",
        changes=[Change(NETWORKS, "  policyTypes: [Ingress, Egress]\n", "  policyTypes: [Ingress]\n")],
        works=WORKS,
        caught_by=[f"{EDGES}::test_every_pod_is_isolated"],
    ),
    Mutant(
        name="wallet-open-to-the-relay",
        guard="only the roles that call the wallet reach it",
        changes=[
            Change(
                "deploy/k8s/base/wallet.yaml",
                "    - podSelector: {matchLabels: {app.kubernetes.io/name: transaction-worker}}\n",
                "    - podSelector: {matchLabels: {app.kubernetes.io/name: transaction-worker}}\n"
                "    - podSelector: {matchLabels: {app.kubernetes.io/name: transaction-relay}}\n",
            )
        ],
        works=WORKS,
        caught_by=[f"{EDGES}::test_no_rule_without_effect"],
    ),
    Mutant(
        name="reversal-waits-for-the-run-before",
        guard="runs of the reversal may overlap, so that a slow one leaves no gap",
        changes=[Change(REVERSAL, "  concurrencyPolicy: Allow\n", "  concurrencyPolicy: Forbid\n")],
        works=WORKS,
        caught_by=[f"{WORKLOADS}::test_the_reversal_leaves_no_gap"],
    ),
    Mutant(
        name="role-killed-while-it-drains",
        guard="the node waits until a role has finished its work",
        changes=[Change(DEPLOYMENT, "terminationGracePeriodSeconds: 35\n", "terminationGracePeriodSeconds: 30\n")],
        works=WORKS,
        caught_by=[f"{WORKLOADS}::test_a_role_has_time_to_stop"],
    ),
    Mutant(
        name="addresses-lost-with-the-database",
        guard="an internal service keeps its addresses while its database is unavailable",
        changes=[
            Change(
                "deploy/k8s/base/wallet.yaml",
                "        readinessProbe: {failureThreshold: 720}\n",
                "        readinessProbe: {failureThreshold: 2}\n",
            )
        ],
        works=WORKS,
        caught_by=[f"{WORKLOADS}::test_internal_services_keep_addresses_in_an_outage"],
    ),
    Mutant(
        name="requests-for-pods-on-an-old-schema",
        guard="a pod that is not ready yet, or ends, gets no requests",
        changes=[
            Change(
                "deploy/k8s/base/wallet.yaml",
                "spec:\n  selector:\n    app.kubernetes.io/name: wallet\n",
                "spec:\n  publishNotReadyAddresses: true\n  selector:\n    app.kubernetes.io/name: wallet\n",
            )
        ],
        works=WORKS,
        caught_by=[f"{WORKLOADS}::test_no_service_publishes_pods_that_are_not_ready"],
    ),
    Mutant(
        name="data-deleted-with-the-claim",
        guard="data outlive the claim of their volume",
        changes=[Change("deploy/k8s/overlays/microk8s/storage.yaml", "reclaimPolicy: Retain", "reclaimPolicy: Delete")],
        works=WORKS,
        caught_by=[f"{WORKLOADS}::test_data_are_kept"],
    ),
    Mutant(
        name="postgres-data-in-the-container",
        guard="the data of PostgreSQL are on its volume",
        changes=[
            Change(POSTGRES, "mountPath: /var/lib/postgresql/data}", "mountPath: /var/lib/postgres/data}"),
        ],
        works=WORKS,
        caught_by=[f"{WORKLOADS}::test_data_paths_are_those_of_the_images"],
    ),
    Mutant(
        name="postgres-without-fsync",
        guard="a commit is on disk before it is acknowledged",
        changes=[Change(POSTGRES, "        - --fsync=on\n", "        - --fsync=off\n")],
        works=WORKS,
        caught_by=[f"{SETTINGS}::test_postgres_has_the_settings_of_the_local_stack"],
    ),
    Mutant(
        name="too-few-connections",
        guard="all roles with all their copies fit into the connections of PostgreSQL",
        changes=[Change(POSTGRES, "        - --max_connections=400\n", "        - --max_connections=200\n")],
        works=WORKS,
        caught_by=[f"{SETTINGS}::test_postgres_has_connections_for_all"],
    ),
    Mutant(
        name="deploy-without-a-trial",
        guard="the API server checks everything before anything is applied",
        changes=[
            Change(
                COMMANDS,
                "        cluster.apply(resources, is_trial=True)\n",
                "        cluster.apply(namespace, is_trial=True)\n",
            )
        ],
        works=WORKS_DEPLOYING,
        caught_by=[f"{DEPLOYING}::test_a_refusal_leaves_nothing"],
    ),
    Mutant(
        name="warned-of-pods-applied",
        guard="a pod that the namespace would refuse fails the trial",
        changes=[Change("deploy/k8s/cluster.py", "        if refused:\n", "        if refused and not is_trial:\n")],
        works=WORKS_DEPLOYING,
        caught_by=[f"{DEPLOYING}::test_a_pod_that_the_namespace_refuses_is_found"],
    ),
    Mutant(
        name="roles-before-their-schema",
        guard="roles are updated after their migrations have succeeded",
        changes=[Change(COMMANDS, "        waiting.for_jobs([observed.name(job) for job in jobs])\n", "")],
        works=WORKS_DEPLOYING,
        caught_by=[f"{DEPLOYING}::test_a_failed_migration_leaves_the_roles"],
    ),
    Mutant(
        name="new-secrets-for-old-data",
        guard="secrets are not generated for data that were made with others",
        changes=[Change(COMMANDS, "    if volumes and lost:\n", "    if False:\n")],
        works=WORKS_DEPLOYING,
        caught_by=[f"{DEPLOYING}::test_data_without_secrets", f"{DEPLOYING}::test_data_without_a_secret"],
    ),
    Mutant(
        name="named-context-ignored",
        guard="the cluster of the named context is used, whichever is current",
        changes=[Change("deploy/k8s/cluster.py", '(kubectl, f"--context={context}")', "(kubectl,)")],
        works=WORKS_DEPLOYING,
        caught_by=[f"{DEPLOYING}::test_the_named_context_is_used"],
    ),
    Mutant(
        name="current-context-used",
        guard="no cluster is touched but MicroK8s of this machine and the one that is named",
        changes=[
            Change(
                "deploy/k8s/cluster.py",
                "            raise DeployError(NO_MICROK8S)\n",
                '            return Cluster((find("kubectl", hint=KUBECTL_HINT),), None)\n',
            )
        ],
        works=WORKS_DEPLOYING,
        caught_by=[f"{DEPLOYING}::test_without_microk8s"],
    ),
    Mutant(
        name="delete-with-the-data",
        guard="deleting PayFlow keeps its data",
        changes=[
            Change(COMMANDS, '"configmaps", "secrets"),\n', '"configmaps", "secrets", "persistentvolumeclaims"),\n')
        ],
        works=WORKS_DEPLOYING,
        caught_by=[f"{DEPLOYING}::test_delete_keeps_the_data"],
    ),
)
