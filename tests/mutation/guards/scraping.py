"""The guards of what is read from a cluster: each process once, with the labels of the rules; log files with no other rights."""

from __future__ import annotations

from tests.mutation.mutant import Change, Mutant

MONITORING = "deploy/k8s/components/monitoring"
LOGGING = "deploy/k8s/logging"
PODS = "tests/deploy/k8s/test_production_pods.py"
LOGS = "tests/deploy/k8s/test_logging.py"
WORKS = f"{PODS}::test_every_role_is_scraped_under_its_name"
LOGS_WORK = f"{LOGS}::test_addresses_and_files_are_those_of_loki"

MUTANTS = (
    Mutant(
        name="role-scraped-twice",
        guard="a process that two monitors scrape would count twice in every sum",
        changes=[
            Change(f"{MONITORING}/pod-monitor.yaml", "      - wallet-seal\n", "      - wallet-seal\n      - gateway\n")
        ],
        works=WORKS,
        caught_by=[f"{PODS}::test_every_role_is_scraped_once"],
    ),
    Mutant(
        name="label-of-ours-renamed",
        guard="the label `service` of our metrics is not renamed by that of the operator",
        changes=[
            Change(f"{MONITORING}/service-monitor.yaml", "    - action: labeldrop\n      regex: service\n", ""),
        ],
        works=WORKS,
        caught_by=[f"{PODS}::test_labels_of_our_metrics_are_kept"],
    ),
    Mutant(
        name="alloy-writes-to-the-node",
        guard="the only pod that sees a folder of the node cannot write to it",
        changes=[
            Change(f"{LOGGING}/alloy.yaml", "mountPath: /var/log/pods, readOnly: true}", "mountPath: /var/log/pods}")
        ],
        works=LOGS_WORK,
        caught_by=[f"{LOGS}::test_containers_are_confined"],
    ),
    Mutant(
        name="logs-open-to-a-namespace",
        guard="Loki has no login: only Alloy and Grafana reach it",
        changes=[
            Change(
                f"{LOGGING}/networks.yaml",
                "      podSelector: {matchLabels: {app.kubernetes.io/name: grafana}}\n",
                "",
            )
        ],
        works=LOGS_WORK,
        caught_by=[f"{LOGS}::test_nothing_but_the_lines_is_reachable"],
    ),
    Mutant(
        name="stream-of-each-pod",
        guard="labels of log lines are from closed sets",
        changes=[
            Change(
                "monitoring/loki/kubernetes.alloy",
                "/var/log/pods/payflow_([a-z]+).*",
                "/var/log/pods/payflow_([^_]+).*",
            )
        ],
        works=LOGS_WORK,
        caught_by=[f"{LOGS}::test_every_line_gets_a_service_of_a_closed_set"],
    ),
)
