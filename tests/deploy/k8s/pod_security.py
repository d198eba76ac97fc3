"""The profile *restricted* of the Pod Security Standards, with everything of *baseline*, as Kubernetes 1.34 to 1.37 enforces it.

Source: kubernetes/kubernetes, staging/src/k8s.io/pod-security-admission/policy; one function here for each check there. Where a
version allows more for pods with user namespaces or Windows pods, this does not: no manifest uses either.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from tests.deploy.k8s.manifests import Resource, containers

VOLUMES = frozenset(
    {"configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "persistentVolumeClaim", "projected", "secret"}
)
SECCOMP = frozenset({"RuntimeDefault", "Localhost"})
SELINUX_TYPES = frozenset({None, "", "container_t", "container_init_t", "container_kvm_t"})
SYSCTLS = frozenset(
    {
        "kernel.shm_rmid_forced",
        "net.ipv4.ip_local_port_range",
        "net.ipv4.tcp_syncookies",
        "net.ipv4.ping_group_range",
        "net.ipv4.ip_unprivileged_port_start",
    }
)
"""Those of every version; later ones allow a few more."""

APP_ARMOR_ANNOTATION = "container.apparmor.security.beta.kubernetes.io/"
APP_ARMOR = frozenset({None, "RuntimeDefault", "Localhost"})
PROBES = ("livenessProbe", "readinessProbe", "startupProbe")


def find_faults(template: Resource) -> list[str]:
    """Every violation of the profile by a pod template."""
    return [fault for check in CHECKS for fault in check(template)]


def _contexts(template: Resource) -> Iterator[tuple[str, Resource]]:
    """The security contexts of the pod and of each of its containers."""
    yield "pod", template["spec"].get("securityContext") or {}
    for container in containers(template["spec"]):
        yield container["name"], container.get("securityContext") or {}


def _host_process(template: Resource) -> Iterator[str]:
    for name, context in _contexts(template):
        if (context.get("windowsOptions") or {}).get("hostProcess"):
            yield f"{name}: hostProcess"


def _host_namespaces(template: Resource) -> Iterator[str]:
    for field in ("hostNetwork", "hostPID", "hostIPC"):
        if template["spec"].get(field):
            yield f"pod: {field}"


def _privileged(template: Resource) -> Iterator[str]:
    for name, context in _contexts(template):
        if context.get("privileged"):
            yield f"{name}: privileged"


def _capabilities(template: Resource) -> Iterator[str]:
    for container in containers(template["spec"]):
        capabilities = (container.get("securityContext") or {}).get("capabilities") or {}
        if "ALL" not in capabilities.get("drop", []):
            yield f"{container['name']}: does not drop ALL capabilities"
        for added in set(capabilities.get("add", [])) - {"NET_BIND_SERVICE"}:
            yield f"{container['name']}: adds the capability {added}"


def _volumes(template: Resource) -> Iterator[str]:
    """The restricted rule; it includes that of baseline, no hostPath."""
    for volume in template["spec"].get("volumes", []):
        for kind in set(volume) - {"name"} - VOLUMES:
            yield f"volume {volume['name']}: {kind}"
        if set(volume) == {"name"}:
            yield f"volume {volume['name']}: no type"


def _host_ports(template: Resource) -> Iterator[str]:
    for container in containers(template["spec"]):
        for port in container.get("ports", []):
            if port.get("hostPort"):
                yield f"{container['name']}: host port {port['hostPort']}"


def _probe_hosts(template: Resource) -> Iterator[str]:
    """New in 1.34."""
    for container in containers(template["spec"]):
        lifecycle = container.get("lifecycle") or {}
        handlers = [container.get(probe) or {} for probe in PROBES] + [
            lifecycle.get(hook) or {} for hook in ("postStart", "preStop")
        ]
        if any((handler.get(action) or {}).get("host") for handler in handlers for action in ("httpGet", "tcpSocket")):
            yield f"{container['name']}: a probe or a hook names a host"


def _app_armor(template: Resource) -> Iterator[str]:
    for key, value in (template["metadata"].get("annotations") or {}).items():
        if key.startswith(APP_ARMOR_ANNOTATION) and value != "runtime/default" and not value.startswith("localhost/"):
            yield f"annotation {key}: {value}"
    for name, context in _contexts(template):
        if (context.get("appArmorProfile") or {}).get("type") not in APP_ARMOR:
            yield f"{name}: AppArmor profile"


def _selinux(template: Resource) -> Iterator[str]:
    for name, context in _contexts(template):
        options = context.get("seLinuxOptions") or {}
        if options.get("type") not in SELINUX_TYPES or options.get("user") or options.get("role"):
            yield f"{name}: SELinux options"


def _proc_mount(template: Resource) -> Iterator[str]:
    for name, context in _contexts(template):
        if context.get("procMount") not in {None, "Default"}:
            yield f"{name}: procMount"


def _sysctls(template: Resource) -> Iterator[str]:
    for sysctl in (template["spec"].get("securityContext") or {}).get("sysctls", []):
        if sysctl["name"] not in SYSCTLS:
            yield f"pod: sysctl {sysctl['name']}"


def _privilege_escalation(template: Resource) -> Iterator[str]:
    for container in containers(template["spec"]):
        if (container.get("securityContext") or {}).get("allowPrivilegeEscalation") is not False:
            yield f"{container['name']}: allowPrivilegeEscalation is not false"


def _non_root(template: Resource) -> Iterator[str]:
    yield from _inherited(template, "runAsNonRoot", lambda value: value is True)


def _user(template: Resource) -> Iterator[str]:
    for name, context in _contexts(template):
        if context.get("runAsUser") == 0:
            yield f"{name}: runAsUser is 0"


def _seccomp(template: Resource) -> Iterator[str]:
    yield from _inherited(template, "seccompProfile", lambda profile: (profile or {}).get("type") in SECCOMP)


def _inherited(template: Resource, field: str, is_allowed: Callable[[Any], bool]) -> Iterator[str]:
    """A field that every container has, itself or from its pod, and that has a forbidden value nowhere."""
    inherited = (template["spec"].get("securityContext") or {}).get(field)
    for name, context in _contexts(template):
        if field in context and not is_allowed(context[field]):
            yield f"{name}: {field}"
        elif name != "pod" and field not in context and inherited is None:
            yield f"{name}: no {field}"


CHECKS: tuple[Callable[[Resource], Iterator[str]], ...] = (
    _host_process,
    _host_namespaces,
    _privileged,
    _capabilities,
    _volumes,
    _host_ports,
    _probe_hosts,
    _app_armor,
    _selinux,
    _proc_mount,
    _sysctls,
    _privilege_escalation,
    _non_root,
    _user,
    _seccomp,
)
