"""`make microk8s-deploy` and `make microk8s-delete`."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path

from deploy.k8s import cluster as clusters
from deploy.k8s import observed, phases, publishing, rendering, site
from deploy.k8s.cluster import NAMESPACE, Cluster, Resource
from deploy.k8s.phases import Phases
from deploy.k8s.rendering import Image
from deploy.k8s.site import Site
from deploy.k8s.waiting import IN_NAMESPACE, PART_OF, Waiting
from deploy.programs import DeployError
from deploy.secrets import files as secret_files
from deploy.secrets.store import Secrets

TARGET = "microk8s"
REMOVED = (
    *("deployments", "statefulsets", "cronjobs", "jobs", "services", "ingresses", "networkpolicies"),
    *("poddisruptionbudgets", "configmaps", "secrets"),
)
"""What `delete` removes; claims, and with them the data, stay."""

REMOVED_CUSTOM = frozenset(
    {observed.KEDA, *observed.PROMETHEUS, observed.CERTIFICATES, "issuers.cert-manager.io"},
)
"""What it removes, too, where the cluster knows it."""

DELETE_SECONDS_MAX = 300.0


def deploy(context: str | None, *, host: str | None, tls: bool | None) -> None:
    """Deploy this tree to MicroK8s, or to the cluster of a named context.

    Raises:
        DeployError: something is missing or failed. Until the trial has passed, nothing is changed in the cluster but a
            namespace that is missing.
    """
    cluster = clusters.choose(context)
    given = publishing.given()
    definitions = check_cluster(cluster, builds=given is None)
    folder = folder_of(context)
    require_secrets(cluster, folder)
    chosen = site.choose(folder, host=host, tls=tls)
    if chosen.tls and observed.CERTIFICATES not in definitions:
        raise DeployError("TLS=1 needs cert-manager: microk8s enable cert-manager")
    if given is None:
        publishing.require_builder()
    image = given or publishing.publish()
    site.remember(folder, chosen)
    resources = render(folder, image, chosen=chosen, components=observed.components(definitions))
    print(f"{len(resources)} resources; trial on {cluster}")
    parts = phases.order(resources)
    try_out(cluster, parts.namespace, resources)
    apply(cluster, parts)
    remove_old_jobs(cluster, parts)
    finish(cluster, chosen)


def check_cluster(cluster: Cluster, *, builds: bool) -> frozenset[str]:
    """The custom resource definitions of the cluster, if it is there, new enough, and has the add-ons.

    Raises:
        DeployError: it is not.
    """
    if builds and cluster.context is not None:
        raise DeployError(
            f"{cluster} needs an image from a registry that it can reach: {publishing.GIVEN}=registry/payflow:tag"
        )
    version = observed.server_version(cluster.version())
    if version < observed.VERSION_MIN:
        wanted = ".".join(map(str, observed.VERSION_MIN))
        raise DeployError(f"{cluster} runs Kubernetes {version[0]}.{version[1]}; the manifests need {wanted} or newer")
    listed = cluster.get("deployments,services,ingressclasses", "--all-namespaces")
    needed = [add_on for add_on in observed.ADD_ONS if builds or add_on != "registry"]
    missing = observed.missing_add_ons(listed, needed)
    if missing:
        raise DeployError(f"add-ons are missing: microk8s enable {' '.join(missing)}")
    return cluster.definitions()


def folder_of(context: str | None) -> Path:
    """The folder of a deployment. Each cluster has its own: the secrets of one do not fit the data of another."""
    if context is None:
        return secret_files.target_folder(TARGET)
    return secret_files.target_folder(f"{TARGET}-{re.sub(r'[^A-Za-z0-9.-]', '_', context)}")


def require_secrets(cluster: Cluster, folder: Path) -> None:
    """Refuse to generate secrets for data that were made with others.

    Raises:
        DeployError: there are volumes, and their secrets are missing.
    """
    volumes = observed.items(cluster.get("persistentvolumeclaims", IN_NAMESPACE))
    store = folder / secret_files.STORE
    lost = Secrets(store).lost()
    if volumes and lost:
        what = f"{store} has no {', '.join(lost)}" if store.exists() else f"{store} is missing"
        raise DeployError(
            f"{cluster} has data of PayFlow and {what}: restore it from a backup, or delete the data "
            "(docs/deploy/microk8s.md)"
        )


def render(folder: Path, image: Image, *, chosen: Site, components: Sequence[str]) -> list[Resource]:
    """Write Secrets and kustomizations below `folder`, and build them."""
    written = secret_files.write(folder)
    secret_files.write_kustomization(folder, written, namespace=NAMESPACE)
    rendering.write(folder, image, site=chosen, components=components)
    return rendering.build(folder)


def try_out(cluster: Cluster, namespace: list[Resource], resources: list[Resource]) -> None:
    """Let the API server check everything. A namespace is created for it if there is none, and removed if it refuses.

    Raises:
        DeployError: it refuses something.
    """
    is_new = not observed.items(cluster.get("namespaces", f"--field-selector=metadata.name={NAMESPACE}"))
    if is_new:
        cluster.apply(namespace)
    try:
        cluster.apply(resources, is_trial=True)
    except DeployError:
        if is_new:
            command = ["delete", "namespace", NAMESPACE, "--wait=false"]
            cluster.run(command, what=f"removing the namespace {NAMESPACE}")
        raise


def apply(cluster: Cluster, parts: Phases) -> None:
    """Apply part after part, each when the one before has done its work.

    Raises:
        DeployError: a part failed. The roles that ran before still run.
    """
    waiting = Waiting(cluster)
    cluster.apply([*parts.namespace, *parts.engines])
    print("engines applied; waiting for them")
    waiting.for_rollouts("statefulsets")
    for jobs, what in ((parts.provision, "databases and logins"), (parts.migrations, "migrations")):
        remove_failed_jobs(cluster, jobs)
        cluster.apply(jobs)
        print(f"{what}: waiting for {', '.join(map(observed.name, jobs))}")
        waiting.for_jobs([observed.name(job) for job in jobs])
    cluster.apply(parts.roles)
    print("roles applied; waiting until all are ready")
    waiting.for_rollouts("deployments")


def remove_failed_jobs(cluster: Cluster, jobs: list[Resource]) -> None:
    """Remove the failed ones of the Jobs that are applied next: an unchanged Job that has failed would never run again."""
    states = observed.job_states(cluster.get("jobs", IN_NAMESPACE, PART_OF))
    failed = [name for name in map(observed.name, jobs) if states.get(name) is observed.JobState.FAILED]
    if failed:
        cluster.run(
            ["delete", IN_NAMESPACE, "jobs", *failed], what="removing failed Jobs", seconds_max=DELETE_SECONDS_MAX
        )


def remove_old_jobs(cluster: Cluster, parts: Phases) -> None:
    """Remove the ended Jobs of other versions."""
    current = {observed.name(job) for job in (*parts.provision, *parts.migrations)}
    states = observed.job_states(cluster.get("jobs", IN_NAMESPACE, f"{PART_OF},app.kubernetes.io/component=job"))
    old = [name for name, state in states.items() if name not in current and state is not observed.JobState.RUNNING]
    if old:
        cluster.run(["delete", IN_NAMESPACE, "jobs", *old], what="removing old Jobs", seconds_max=DELETE_SECONDS_MAX)


def finish(cluster: Cluster, chosen: Site) -> None:
    """Say where the system is and what comes next."""
    print(f"PayFlow runs at {chosen.url} (this machine's port {443 if chosen.tls else 80})")
    print(
        f"first operator: {cluster.shown} -n {NAMESPACE} exec deploy/auth -- python -m services.auth grant EMAIL operator"
    )
    print(f"check: make doctor TARGET={TARGET}; make smoke URL={chosen.url}")


def delete(context: str | None) -> None:
    """Remove everything but the data: claims and their volumes, the namespace, and the secrets on this machine.

    Raises:
        DeployError: the cluster cannot be reached, or the caller does not agree.
    """
    cluster = clusters.choose(context)
    if not observed.items(cluster.get("namespaces", f"--field-selector=metadata.name={NAMESPACE}")):
        print(f"{cluster} has no namespace {NAMESPACE}: there is nothing to delete")
        return
    if os.environ.get("YES") != "1" and not _agrees(f"Remove PayFlow from {cluster}? Its data are kept. [y/N] "):
        raise DeployError("nothing was deleted")
    kinds = [*REMOVED, *sorted(REMOVED_CUSTOM & cluster.definitions())]
    command = ["delete", IN_NAMESPACE, "--all", ",".join(kinds)]
    cluster.run(command, what=f"deleting from {cluster}", seconds_max=DELETE_SECONDS_MAX)
    volumes = observed.items(cluster.get("persistentvolumeclaims", IN_NAMESPACE))
    kept = ", ".join(map(observed.name, volumes)) or "none"
    print(
        f"deleted; data kept: {kept}. Their secrets are in {folder_of(context)}: keep them, or see docs/deploy/microk8s.md"
    )


def _agrees(question: str) -> bool:
    try:
        return input(question).strip().lower() in {"y", "yes"}
    except EOFError:
        return False
