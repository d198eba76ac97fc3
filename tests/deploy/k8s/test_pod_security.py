"""Guarantee 56, first half: every pod passes the profile *restricted* of Kubernetes."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest

from tests.deploy.k8s import pod_security
from tests.deploy.k8s.manifests import Resource, Workload, containers, microk8s, of_kind, workloads

PODS = 25
"""What MicroK8s runs: eleven roles, the reversal, five Jobs, three engines, the backups with two CronJobs, two for a restore."""


def some_role() -> Workload:
    """Any role."""
    return next(workload for workload in workloads(microk8s()) if workload.name == "wallet")


def test_every_pod_passes_restricted() -> None:
    """Guarantee 56: no pod of the manifests violates Pod Security restricted."""
    found = workloads(microk8s())

    assert {str(each): faults for each in found if (faults := pod_security.find_faults(each.template))} == {}
    assert len(found) == PODS
    assert sum(1 for each in found for _ in containers(each.pod)) == PODS


def test_more_than_restricted() -> None:
    """Guarantee 56: every container also has a read-only root file system, a user and group of its own, and no token."""
    for each in workloads(microk8s()):
        context = each.pod["securityContext"]
        assert each.container["securityContext"]["readOnlyRootFilesystem"] is True, each
        owns_data = each.component in {"engine", "backup"}
        assert context["runAsUser"] == context["runAsGroup"] == (999 if owns_data else 10001), each
        assert each.pod["automountServiceAccountToken"] is False, each
        assert each.pod["enableServiceLinks"] is False, each
        assert "serviceAccountName" not in each.pod, each


def test_the_namespace_enforces_it() -> None:
    """The namespace refuses a pod that violates the profile."""
    (namespace,) = of_kind(microk8s(), "Namespace").values()

    labels = namespace["metadata"]["labels"]
    for mode in ("enforce", "audit", "warn"):
        assert labels[f"pod-security.kubernetes.io/{mode}"] == "restricted"


def _container(change: Callable[[Resource], object]) -> Callable[[Resource], object]:
    return lambda template: change(template["spec"]["containers"][0])


def _set(**values: object) -> Callable[[Resource], object]:
    return lambda template: template["spec"].update(values)


def _context(**values: object) -> Callable[[Resource], object]:
    return _container(lambda container: container["securityContext"].update(values))


def _pod_context(**values: object) -> Callable[[Resource], object]:
    return lambda template: template["spec"]["securityContext"].update(values)


VIOLATIONS: dict[str, Callable[[Resource], object]] = {
    "hostProcess": _pod_context(windowsOptions={"hostProcess": True}),
    "hostNetwork": _set(hostNetwork=True),
    "hostPID": _set(hostPID=True),
    "hostIPC": _set(hostIPC=True),
    "privileged": _context(privileged=True),
    "adds the capability": _context(capabilities={"drop": ["ALL"], "add": ["NET_ADMIN"]}),
    "does not drop ALL": _context(capabilities={"drop": ["NET_RAW"]}),
    "hostPath": lambda template: template["spec"]["volumes"].append({"name": "x", "hostPath": {"path": "/"}}),
    "host port": _container(lambda container: container["ports"][0].update(hostPort=80)),
    "names a host": _container(lambda container: container["livenessProbe"]["httpGet"].update(host="10.0.0.1")),
    "annotation": lambda template: template["metadata"].update(
        annotations={f"{pod_security.APP_ARMOR_ANNOTATION}payflow": "unconfined"}
    ),
    "AppArmor profile": _pod_context(appArmorProfile={"type": "Unconfined"}),
    "SELinux": _context(seLinuxOptions={"type": "spc_t"}),
    "procMount": _context(procMount="Unmasked"),
    "sysctl": _pod_context(sysctls=[{"name": "kernel.msgmax", "value": "1"}]),
    "allowPrivilegeEscalation": _container(
        lambda container: container["securityContext"].pop("allowPrivilegeEscalation")
    ),
    "payflow: no runAsNonRoot": lambda template: template["spec"]["securityContext"].pop("runAsNonRoot"),
    "payflow: runAsNonRoot": _context(runAsNonRoot=False),
    "runAsUser is 0": _context(runAsUser=0),
    "payflow: no seccompProfile": lambda template: template["spec"]["securityContext"].pop("seccompProfile"),
    "payflow: seccompProfile": _context(seccompProfile={"type": "Unconfined"}),
    "payflow: does not drop": lambda template: template["spec"]["containers"][0].pop("securityContext"),
}


@pytest.mark.parametrize("fault", VIOLATIONS)
def test_each_rule_finds_its_violation(fault: str) -> None:
    """Each rule of the profile refuses a pod that violates it."""
    template = copy.deepcopy(some_role().template)
    VIOLATIONS[fault](template)

    found = pod_security.find_faults(template)
    assert any(fault in each for each in found), found


def test_a_violation_in_an_init_container_is_found() -> None:
    """The rules hold for init containers too."""
    template = copy.deepcopy(some_role().template)
    template["spec"]["initContainers"] = [{"name": "first", "image": "payflow"}]

    assert "first: allowPrivilegeEscalation is not false" in pod_security.find_faults(template)
