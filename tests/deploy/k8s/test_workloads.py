"""What each pod is given and how it is started, checked, spread and stopped."""

from __future__ import annotations

import re
from pathlib import Path

import yaml

from deploy import facts
from services.chassis.roles import STOP_SECONDS_MAX
from tests.deploy.k8s.manifests import K8S, Workload, matches, microk8s, of_kind, quantity, workloads

MARGIN_SECONDS = 5.0
INTERNAL_APIS = {"auth", "wallet", "transaction", "notification"}
READINESS_FAILURES_DEFAULT = 3
ADDRESS_SECONDS_MIN = 3600
UNREADY_SECONDS_MAX = 15
REVERSAL_START_SECONDS_MAX = 5.0
"""How long a run may take from its minute to its first pass, for the longest permitted gap to hold."""


def roles() -> list[Workload]:
    """The pods of the services."""
    return [pod for pod in workloads(microk8s()) if pod.component == "role"]


def deployments() -> list[Workload]:
    """The roles that run all the time."""
    return [pod for pod in roles() if pod.kind == "Deployment"]


def jobs() -> list[Workload]:
    """What runs once for each version."""
    return [pod for pod in workloads(microk8s()) if pod.component == "job"]


def engines() -> list[Workload]:
    """PostgreSQL, RabbitMQ and Redis."""
    return [pod for pod in workloads(microk8s()) if pod.component == "engine"]


def reversal() -> Workload:
    """The CronJob."""
    (pod,) = [pod for pod in roles() if pod.kind == "CronJob"]
    return pod


def test_every_role_and_job_is_deployed() -> None:
    """There is a workload for each role of the services and for each of their migrations, and no other."""
    assert {pod.name for pod in roles()} == set(facts.ROLES)
    assert {pod.name for pod in jobs()} == {name for name in facts.JOBS if name.endswith("-migrate")} | {"provision"}
    assert {pod.name for pod in engines()} == {"postgres", "rabbitmq", "redis"}


def test_a_role_runs_its_own_command() -> None:
    """The arguments of a container are those of its role, in the image of the roles."""
    for pod in roles():
        assert pod.container["args"] == facts.ROLES[pod.name].arguments
        assert pod.container["image"] == "payflow"
        assert "command" not in pod.container


def test_ports_are_those_of_the_role() -> None:
    """A container names the ports that the role listens on by default, and no others."""
    for pod in roles():
        role = facts.ROLES[pod.name]
        expected = {"api": role.port, "metrics": role.metrics_port}

        assert pod.ports == {name: port for name, port in expected.items() if port is not None}


def test_probes_of_a_role() -> None:
    """Liveness and start ask whether the process is alive, readiness whether it can work; all at the port of the metrics."""
    for pod in deployments():
        probes = {name: pod.container[f"{name}Probe"] for name in ("startup", "liveness", "readiness")}

        assert {name: probe["httpGet"] for name, probe in probes.items()} == {
            "startup": {"path": "/livez", "port": "metrics"},
            "liveness": {"path": "/livez", "port": "metrics"},
            "readiness": {"path": "/readyz", "port": "metrics"},
        }
        # A check of readiness responds after a second at most; a busy machine gets time beyond that.
        assert all(probe["timeoutSeconds"] >= 2 for probe in probes.values())
        assert probes["liveness"]["periodSeconds"] * probes["liveness"]["failureThreshold"] >= 30
        assert probes["startup"]["periodSeconds"] * probes["startup"]["failureThreshold"] >= 60


def test_probes_of_an_engine() -> None:
    """An engine has time to recover before anything ends it; nothing ends PostgreSQL."""
    for pod in engines():
        startup = pod.container["startupProbe"]

        assert "readinessProbe" in pod.container
        assert ("livenessProbe" in pod.container) is (pod.name != "postgres")
        seconds = {"postgres": 1800, "rabbitmq": 300, "redis": 60}[pod.name]
        assert startup["periodSeconds"] * startup["failureThreshold"] >= seconds


def test_a_role_has_time_to_stop() -> None:
    """A role serves until Services have forgotten its address, then drains; the node waits longer than both together."""
    for pod in deployments():
        sleep = pod.container["lifecycle"]["preStop"]["sleep"]["seconds"]

        assert sleep == facts.PERIODS.pre_stop
        assert pod.pod["terminationGracePeriodSeconds"] >= sleep + STOP_SECONDS_MAX + MARGIN_SECONDS


def test_a_role_is_replaced_without_a_gap() -> None:
    """An update takes no pod away before another one is ready."""
    for pod in deployments():
        spec = pod.resource["spec"]

        assert spec["strategy"] == {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1}}


def test_copies_are_spread_and_protected() -> None:
    """A role with copies prefers different machines, and maintenance takes one of them at a time."""
    for pod in deployments():
        budgets = [
            budget["spec"]
            for budget in of_kind(microk8s(), "PodDisruptionBudget").values()
            if matches(budget["spec"]["selector"], pod.labels)
        ]
        (spread,) = pod.pod["topologySpreadConstraints"]

        assert spread["topologyKey"] == "kubernetes.io/hostname"
        assert matches(spread["labelSelector"], pod.labels)
        assert not set(spread["matchLabelKeys"]) & set(spread["labelSelector"]["matchLabels"])
        assert len(budgets) == (1 if pod.resource["spec"]["replicas"] > 1 else 0)
        assert all(budget["maxUnavailable"] == 1 and "minAvailable" not in budget for budget in budgets)


def test_which_roles_have_copies() -> None:
    """Everything that a request needs has two copies. The sealer and the deliver role may be late, so they have one."""
    single = {pod.name for pod in deployments() if pod.resource["spec"]["replicas"] == 1}

    assert single == {"wallet-seal", "notification-deliver", "canary"}
    assert {pod.resource["spec"]["replicas"] for pod in deployments() if pod.name not in single} == {2}


def test_limits() -> None:
    """Every container states what it needs and what it may use, of processor and memory."""
    for pod in workloads(microk8s()):
        resources = pod.container["resources"]

        assert set(resources) == {"requests", "limits"}
        assert all(set(resources[kind]) == {"cpu", "memory"} for kind in resources)


def test_folders_in_memory_are_limited() -> None:
    """A folder in memory counts against the limit of its container, so it has a size; /tmp is always one."""
    for pod in workloads(microk8s()):
        folders = {volume["name"]: volume["emptyDir"] for volume in pod.pod["volumes"] if "emptyDir" in volume}

        assert {mount["mountPath"] for mount in pod.container["volumeMounts"] if mount["name"] == "tmp"} == {"/tmp"}
        assert "tmp" in folders
        for folder in folders.values():
            assert folder["medium"] == "Memory"
            assert folder["sizeLimit"].endswith("Mi")


def test_volumes_are_mounted() -> None:
    """Every mount has its volume, and every volume is mounted."""
    for pod in workloads(microk8s()):
        claims = {claim["metadata"]["name"] for claim in pod.resource["spec"].get("volumeClaimTemplates", [])}
        volumes = {volume["name"] for volume in pod.pod["volumes"]}

        assert {mount["name"] for mount in pod.container["volumeMounts"]} == volumes | claims


def test_selectors_match() -> None:
    """A workload selects its own pods and no others."""
    for pod in workloads(microk8s()):
        selector = pod.resource["spec"].get("selector")

        if pod.component == "job" or pod.kind == "CronJob":
            assert selector is None
        else:
            assert [other.name for other in workloads(microk8s()) if matches(selector, other.labels)] == [pod.name]


def test_services_select_their_pods() -> None:
    """A Service reaches the pods of its name, at a port that they have."""
    for name, service in of_kind(microk8s(), "Service").items():
        spec = service["spec"]
        (pod,) = [pod for pod in workloads(microk8s()) if matches({"matchLabels": spec["selector"]}, pod.labels)]
        assert pod.name == name
        assert spec.get("type", "ClusterIP") == "ClusterIP", pod
        for port in spec["ports"]:
            assert pod.ports[port["targetPort"]] == port["port"], pod


def test_internal_services_keep_addresses_in_an_outage() -> None:
    """A pod that was ready keeps its address for an hour without its database, so that callers get its 503 and its reads."""
    for pod in deployments():
        probe = pod.container["readinessProbe"]
        seconds = probe["periodSeconds"] * probe.get("failureThreshold", READINESS_FAILURES_DEFAULT)
        if pod.name in INTERNAL_APIS:
            assert seconds >= ADDRESS_SECONDS_MIN, pod
        else:
            assert seconds <= UNREADY_SECONDS_MAX, pod


def test_no_service_publishes_pods_that_are_not_ready() -> None:
    """Otherwise pods on an old schema, pods that end and pods of a dead node would get requests (decision 0014)."""
    for service in of_kind(microk8s(), "Service").values():
        assert not service["spec"].get("publishNotReadyAddresses")


def test_the_ingress_reaches_the_gateway_only() -> None:
    """One Ingress, with standard fields, for the class that MicroK8s has always had."""
    (ingress,) = of_kind(microk8s(), "Ingress").values()
    services = re.findall(r"'service': {'name': '([^']+)'", str(ingress))

    assert services == ["gateway"]
    assert ingress["spec"]["ingressClassName"] == "public"
    assert not ingress["metadata"].get("annotations")


def test_the_reversal_leaves_no_gap() -> None:
    """A run starts each minute and sweeps until the next one does; two at once are allowed, a skipped one is not."""
    spec = reversal().resource["spec"]
    sweep = float(reversal().environment["PAYFLOW_REVERSAL_SECONDS_MAX"] or 0)

    assert spec["schedule"] == "* * * * *"
    assert spec["concurrencyPolicy"] == "Allow"
    assert not spec.get("suspend")
    assert sweep == 60.0
    # The next run's first pass is at most this long after the last pass of this one.
    assert facts.PERIODS.reversal_every + REVERSAL_START_SECONDS_MAX <= facts.PERIODS.reversal_gap_max


def test_the_reversal_ends() -> None:
    """A run that hangs is ended, after more than its sweep and less than the next two; few ended runs are kept."""
    spec = reversal().resource["spec"]
    job = spec["jobTemplate"]["spec"]
    sweep = float(reversal().environment["PAYFLOW_REVERSAL_SECONDS_MAX"] or 0)

    assert job["activeDeadlineSeconds"] == 90
    assert job["activeDeadlineSeconds"] >= sweep + STOP_SECONDS_MAX
    # Below 10 s the controller, which looks every 10 s, might never start a run.
    assert 10 < spec["startingDeadlineSeconds"] < 60
    assert (spec["successfulJobsHistoryLimit"], spec["failedJobsHistoryLimit"]) == (2, 2)
    assert reversal().pod["restartPolicy"] == "Never"


def test_jobs_retry_and_have_no_deadline() -> None:
    """A job waits for its database by retrying; a migration may take hours, so no clock ends it."""
    for pod in jobs():
        spec = pod.resource["spec"]

        assert spec["backoffLimit"] == 10
        assert "activeDeadlineSeconds" not in spec
        assert "ttlSecondsAfterFinished" not in spec  # the doctor looks for it
        assert pod.pod["restartPolicy"] == "Never"


def test_data_are_kept() -> None:
    """The volumes of the engines outlive their claims, and are made on the machine that runs the engine."""
    (storage,) = of_kind(microk8s(), "StorageClass").values()

    assert storage["reclaimPolicy"] == "Retain"
    assert storage["volumeBindingMode"] == "WaitForFirstConsumer"
    assert storage["provisioner"] == "microk8s.io/hostpath"
    for pod in engines():
        (claim,) = pod.resource["spec"]["volumeClaimTemplates"]
        assert claim["spec"]["storageClassName"] == storage["metadata"]["name"]


def test_data_paths_are_those_of_the_images() -> None:
    """Each engine writes its data to its volume: at another path they would be lost with the container."""
    mounts = {
        pod.name: next(mount["mountPath"] for mount in pod.container["volumeMounts"] if mount["name"] == "data")
        for pod in engines()
    }

    assert mounts == {
        "postgres": "/var/lib/postgresql/data",
        "rabbitmq": "/var/lib/rabbitmq/mnesia",
        "redis": "/data",
    }
    postgres = next(pod for pod in engines() if pod.name == "postgres")
    assert (postgres.environment["PGDATA"] or "").startswith(mounts["postgres"] + "/")


def test_engines_may_write_where_they_do_with_compose() -> None:
    """A folder that an engine writes to in its read-only container of Compose is a volume of its pod, too."""
    compose = yaml.safe_load((K8S.parent / "compose" / "compose.yaml").read_text())["services"]
    for pod in engines():
        mounts = {mount["mountPath"] for mount in pod.container["volumeMounts"] if not mount.get("readOnly")}
        wanted = {entry.partition(":")[0] for entry in compose[pod.name]["tmpfs"]}
        wanted |= {volume["target"] for volume in compose[pod.name]["volumes"] if volume["type"] in {"volume", "tmpfs"}}
        assert wanted <= mounts, f"{pod} cannot write to {', '.join(sorted(wanted - mounts))}"


def test_each_role_has_its_own_file() -> None:
    """A file of the base is named after the role that it describes."""
    named = {path.stem for path in (K8S / "base").glob("*.yaml")} - {"kustomization", "namespace", "networks"}

    assert named == {pod.name for pod in roles()}
    assert all(_first(K8S / "base" / f"{name}.yaml") == name for name in named)


def _first(path: Path) -> str:
    name: str = next(iter(yaml.load_all(path.read_text(), yaml.CSafeLoader)))["metadata"]["name"]
    return name


def test_the_page_states_what_the_pods_request() -> None:
    """docs/deploy/microk8s.md states the sum of what everything that runs all the time requests, with one run of the reversal."""
    running = [pod for pod in workloads(microk8s()) if pod.kind != "Job" and (pod.kind != "CronJob" or pod in roles())]
    sums = {
        resource: sum(
            pod.resource["spec"].get("replicas", 1) * quantity(pod.container["resources"]["requests"][resource])
            for pod in running
        )
        for resource in ("cpu", "memory")
    }

    page = " ".join((K8S.parents[1] / "docs/deploy/microk8s.md").read_text().split())
    assert f"The pods request {sums['cpu']:.1f} processors and {sums['memory'] / 2**30:.1f} GiB" in page
