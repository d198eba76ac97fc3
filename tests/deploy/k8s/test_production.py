"""The production overlay: what the operator must give, and what the engines promise."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

from deploy.local.engines import postgres, rabbitmq
from deploy.local.roles import SERVICES
from deploy.programs import DeployError
from deploy.secrets import production as production_secrets
from services.gateway.address import parse_networks
from tests.deploy.k8s import production_builds
from tests.deploy.k8s.production_builds import ROOT, SITE, BuildFailed, build_production, example_site


def get(kind: str, name: str) -> dict[str, Any]:
    """The resource of this kind and name."""
    found = [
        each for each in production_builds.production() if each["kind"] == kind and each["metadata"]["name"] == name
    ]
    assert len(found) == 1, f"{kind} {name}"
    return found[0]


def texts(value: Any) -> list[str]:
    """Every string in a resource."""
    if isinstance(value, dict):
        return [text for inner in value.values() for text in texts(inner)]
    if isinstance(value, list):
        return [text for inner in value for text in texts(inner)]
    return [value] if isinstance(value, str) else []


def test_nothing_builds_without_the_values_of_the_site() -> None:
    """Without site.env the overlay does not build, and the error names the file."""
    with pytest.raises(BuildFailed, match=r"site\.env"):
        build_production(None)


def test_nothing_builds_without_one_value() -> None:
    """A value that site.env lacks is no empty one: the overlay does not build."""
    with pytest.raises(BuildFailed, match="STORAGE_CLASS"):
        build_production({name: value for name, value in SITE.items() if name != "STORAGE_CLASS"})


def test_every_value_of_the_site_is_used() -> None:
    """The example has exactly the values that the overlay needs, and each of them is somewhere in what is built."""
    assert sorted(example_site()) == sorted(SITE)
    built = texts(list(production_builds.production()))
    assert [name for name, value in SITE.items() if not any(value in text for text in built)] == []
    # The values are for the build: they are not applied as a ConfigMap.
    config_maps = {each["metadata"]["name"] for each in production_builds.production() if each["kind"] == "ConfigMap"}
    assert [name for name in config_maps if name.startswith("site")] == []


def test_no_value_of_the_example_is_usable() -> None:
    """Every value of the example is in angle brackets, which no name, image, network or address of Kubernetes may have."""
    assert [name for name, value in example_site().items() if not re.fullmatch(r"<[^<>]+>", value)] == []
    with pytest.raises(ValueError, match="network"):
        parse_networks(example_site()["TRUSTED_PROXIES"])


def test_no_placeholder_is_left() -> None:
    """No word in capitals that stands for a value of the site is left in what is built."""
    words = "|".join(SITE)
    left = [
        text
        for resource in production_builds.production()
        for text in texts(resource)
        if re.search(rf"(^|[/-])({words})($|[/-])", text)
    ]
    assert left == []


def test_every_image_is_pinned() -> None:
    """Every image, also those that operators run, has the digest that the site gives."""
    images = [
        value
        for resource in production_builds.production()
        for name, value in fields(resource)
        if name in ("image", "imageName")
    ]
    assert len(images) >= len(("payflow", "postgres", "rabbitmq", "redis"))
    assert [image for image in images if not image.endswith(production_builds.DIGEST)] == []


def fields(value: Any) -> list[tuple[str, Any]]:
    """Every field of a resource with its value, at any depth."""
    if isinstance(value, dict):
        return [*value.items(), *(pair for inner in value.values() for pair in fields(inner))]
    if isinstance(value, list):
        return [pair for inner in value for pair in fields(inner)]
    return []


def test_migrations_are_named_by_release() -> None:
    """The name of each migration ends with the release, because a finished Job cannot be changed."""
    jobs = [each["metadata"]["name"] for each in production_builds.production() if each["kind"] == "Job"]
    migrations = [name for name in jobs if "-migrate" in name]
    assert len(migrations) == len(("auth", "wallet", "transaction", "notification"))
    assert [name for name in jobs if not name.endswith(f"-{SITE['RELEASE']}")] == []


def test_one_host_name_everywhere() -> None:
    """The Ingress, its certificate and the public address of the gateway have the same host."""
    ingress = get("Ingress", "gateway")["spec"]
    assert ingress["rules"][0]["host"] == SITE["HOST"]
    assert ingress["tls"] == [{"hosts": [SITE["HOST"]], "secretName": "gateway-tls"}]
    certificate = get("Certificate", "gateway")["spec"]
    assert (certificate["dnsNames"], certificate["secretName"]) == ([SITE["HOST"]], "gateway-tls")
    gateway = get("Deployment", "gateway")["spec"]["template"]["spec"]["containers"][0]
    variables = {variable["name"]: variable.get("value") for variable in gateway["env"]}
    assert variables["PAYFLOW_PUBLIC_URL"] == f"https://{SITE['HOST']}"
    assert variables["PAYFLOW_TRUSTED_PROXIES"] == SITE["TRUSTED_PROXIES"]


def test_certificate_is_of_a_public_authority() -> None:
    """The local authority of the component tls is not in production; the only Issuer uses ACME."""
    issuers = [each for each in production_builds.production() if each["kind"] == "Issuer"]
    assert [(issuer["metadata"]["name"], list(issuer["spec"])) for issuer in issuers] == [("payflow", ["acme"])]
    certificates = [each for each in production_builds.production() if each["kind"] == "Certificate"]
    assert [certificate["spec"]["issuerRef"]["name"] for certificate in certificates] == ["payflow"]


def test_solver_of_the_authority_is_reachable() -> None:
    """The pod that proves control of the host to the authority is reachable from the ingress controller alone."""
    policy = get("NetworkPolicy", "acme-solver")
    assert policy["spec"]["podSelector"] == {"matchLabels": {"acme.cert-manager.io/http01-solver": "true"}}
    (rule,) = policy["spec"]["ingress"]
    assert rule["ports"] == [{"protocol": "TCP", "port": 8089}]
    (source,) = rule["from"]
    assert source["namespaceSelector"]["matchLabels"] == {"kubernetes.io/metadata.name": SITE["INGRESS_NAMESPACE"]}


def test_commit_waits_for_a_standby() -> None:
    """PostgreSQL writes only with a standby in sync, and promotes only one that has every acknowledged commit."""
    cluster = get("Cluster", "postgres")["spec"]
    assert cluster["instances"] == 3
    assert cluster["postgresql"]["synchronous"] == {
        "method": "any",
        "number": 1,
        "dataDurability": "required",
        "failoverQuorum": True,
    }
    assert "synchronous_commit" not in cluster["postgresql"]["parameters"]
    assert cluster["affinity"]["podAntiAffinityType"] == "required"


def test_broker_keeps_a_majority() -> None:
    """RabbitMQ has three nodes on three machines; a node without the others pauses, and one at most is taken down at once."""
    cluster = get("RabbitmqCluster", "rabbitmq")["spec"]
    assert cluster["replicas"] == 3
    configuration = cluster["rabbitmq"]["additionalConfig"].splitlines()
    assert "cluster_partition_handling = pause_minority" in configuration
    assert f"heartbeat = {rabbitmq.HEARTBEAT_SECONDS}" in configuration
    required = cluster["affinity"]["podAntiAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
    assert [term["topologyKey"] for term in required] == ["kubernetes.io/hostname"]
    assert get("PodDisruptionBudget", "rabbitmq")["spec"]["maxUnavailable"] == 1


def test_backups_reach_the_object_store() -> None:
    """WAL is archived continuously and a base backup is made every day, both to the object store of the site."""
    (plugin,) = get("Cluster", "postgres")["spec"]["plugins"]
    assert plugin["isWALArchiver"]
    store = get("ObjectStore", plugin["parameters"]["barmanObjectName"])["spec"]
    assert store["configuration"]["destinationPath"] == SITE["BACKUP_PATH"]
    backup = get("ScheduledBackup", "postgres")["spec"]
    assert (backup["method"], backup["pluginConfiguration"]["name"]) == ("plugin", plugin["name"])
    assert len(backup["schedule"].split()) == 6


@pytest.mark.parametrize("step", ["compare", "reset"])
def test_steps_after_a_restore_are_ready_to_run(step: str) -> None:
    """The steps run in the image of the release with the Secret that is written for them, and never by themselves."""
    cron_job = get("CronJob", step)["spec"]
    assert cron_job["suspend"] is True
    assert cron_job["jobTemplate"]["spec"]["backoffLimit"] == 0
    pod = cron_job["jobTemplate"]["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert (container["image"], container["args"]) == (SITE["IMAGE"], ["deploy.backup", step])
    assert {"name": "secrets", "mountPath": "/run/secrets", "readOnly": True} in container["volumeMounts"]
    (secret,) = [volume["secret"]["secretName"] for volume in pod["volumes"] if volume["name"] == "secrets"]
    engines = {"payflow_redis_url", "payflow_rabbitmq_management_url"} if step == "reset" else set()
    assert secrets()[secret] == {f"payflow_{service}_owner_database_url" for service in SERVICES} | engines


def test_a_restore_applies_postgres_alone() -> None:
    """The label by which a restore applies a part of the overlay selects the server and its backups, and starts no role."""
    page = (ROOT / "docs/deploy/production.md").read_text()
    (label,) = re.findall(r"apply --server-side -k deploy/k8s/overlays/production -l (\S+)", page)
    name, _, value = label.partition("=")
    selected = {
        (each["kind"], each["metadata"]["name"])
        for each in production_builds.production()
        if each["metadata"].get("labels", {}).get(name) == value
    }
    assert selected == {("Cluster", "postgres"), ("ScheduledBackup", "postgres")}


def test_parameters_are_those_of_postgres() -> None:
    """PostgreSQL knows every parameter that the Cluster sets; values that the local stack sets, too, are the same or larger."""
    programs = postgres.find_programs()
    assert programs is not None
    done = subprocess.run([programs / "postgres", "--describe-config"], capture_output=True, text=True, check=True)
    known = {line.split("\t")[0] for line in done.stdout.splitlines()}
    cluster = get("Cluster", "postgres")["spec"]
    parameters = cluster["postgresql"]["parameters"]
    assert set(parameters) - known == set()
    assert (parameters["jit"], parameters["TimeZone"]) == (postgres.SETTINGS["jit"], postgres.SETTINGS["timezone"])
    # Each changes what is durable, and is on by default.
    assert {"fsync", "full_page_writes", "synchronous_commit"} & set(parameters) == set()
    assert cluster["managed"]["roles"][0]["name"] == postgres.SUPERUSER


def secrets() -> dict[str, set[str]]:
    """The keys of every Secret that is built, by its name."""
    return {
        each["metadata"]["name"]: set(each["data"])
        for each in production_builds.production()
        if each["kind"] == "Secret"
    }


def references(value: Any) -> list[tuple[str, str | None]]:
    """The Secrets that a resource names, with the key where one is named."""
    if isinstance(value, list):
        return [found for item in value for found in references(item)]
    if not isinstance(value, dict):
        return []
    found = [reference for inner in value.values() for reference in references(inner)]
    fields_of_operators = ("passwordSecret", "externalSecret", "accessKeyId", "secretAccessKey")
    found += [(value[field]["name"], value[field].get("key")) for field in fields_of_operators if field in value]
    if isinstance(value.get("secret"), dict) and "secretName" in value["secret"]:
        found.append((value["secret"]["secretName"], None))
    return found


def test_every_secret_that_is_named_exists() -> None:
    """What roles, jobs and operators read is in a Secret of that name, under that key; and every other Secret has a use."""
    existing = secrets()
    named = references(list(production_builds.production()))
    assert [(name, key) for name, key in named if name not in existing or (key and key not in existing[name])] == []
    unused = {re.sub(r"-[a-z0-9]{10}$", "", name) for name in existing.keys() - {name for name, _ in named}}
    # For the component keda-postgresql, the alternative to keda-prometheus.
    assert unused == {"scaler-secrets"}


def test_secrets_have_the_keys_that_operators_read() -> None:
    """CloudNativePG reads a name and a password, the RabbitMQ operator a file of configuration beside them."""
    assert {"username", "password"} <= secrets()["postgres-superuser"]
    assert {"default_user.conf", "username", "password"} <= secrets()["rabbitmq-default-user"]


def test_secrets_of_production_need_the_object_store(tmp_path: Path) -> None:
    """Without the keys of the object store nothing is written, and the error says which to add to which file."""
    with pytest.raises(
        DeployError, match=r"object_store_access_key_id and object_store_secret_access_key .*secrets\.json"
    ):
        production_secrets.write(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_roles_connect_to_the_primary(tmp_path: Path) -> None:
    """The address of the database is the Service that CloudNativePG points at the primary."""
    (tmp_path / "secrets.json").write_text(json.dumps(production_builds.OBJECT_STORE))
    production_secrets.write(tmp_path)
    cluster = get("Cluster", "postgres")["metadata"]["name"]
    for role in ("wallet", "transaction-worker"):
        (url,) = {path.read_text() for path in (tmp_path / "secrets" / role).glob("*[tn]_database_url")}
        assert f"@{cluster}-rw:5432/" in url


def test_every_component_is_built_by_a_test() -> None:
    """Each component is a part of production or of MicroK8s, or is built with one of them."""
    kustomizations = [
        production_builds.K8S / "overlays" / name / "kustomization.yaml" for name in ("production", "microk8s")
    ]
    listed = re.findall(r"components/([a-z-]+)", "".join(path.read_text() for path in kustomizations))
    components = {path.name for path in (production_builds.K8S / "components").iterdir()}
    assert components - set(listed) == {"keda-postgresql", "postgres-alerts"}


def test_secrets_of_production_fit_each_other_from_the_first_write(tmp_path: Path) -> None:
    """The operators create the users that the roles log in as, and a second write changes nothing."""
    store = tmp_path / "secrets.json"
    store.write_text(json.dumps(production_builds.OBJECT_STORE))
    production_secrets.write(tmp_path)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    broker = (tmp_path / "operators/rabbitmq-default-user/password").read_text()
    superuser = (tmp_path / "operators/postgres-superuser/password").read_text()

    assert f":{broker}@" in (tmp_path / "secrets/transaction-relay/payflow_rabbitmq_url").read_text()
    assert f"password={superuser}\n" in (tmp_path / "secrets/provision/pg_service.conf").read_text()
    assert "auth_secret" in json.loads(store.read_text())

    production_secrets.write(tmp_path)

    assert before == {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
