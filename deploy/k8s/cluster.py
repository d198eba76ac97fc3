"""kubectl for exactly one cluster: MicroK8s of this machine, or the context that is named."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from deploy.programs import DeployError, find, last_line

NAMESPACE = "payflow"
MANAGER = "payflow"
"""The name under which the fields of the manifests are owned in the cluster."""

CALL_SECONDS_MAX = 60.0
REQUEST_TIMEOUT = "--request-timeout=20s"
NO_MICROK8S = (
    "MicroK8s is not installed (sudo snap install microk8s --classic); "
    "for another cluster name a context of your kubeconfig: CONTEXT=name"
)
NO_PERMISSION = "you may not use MicroK8s: sudo usermod -a -G microk8s $USER, then log in again"
POD_REFUSED = "would violate PodSecurity"
KUBECTL_HINT = "install it, or run make engines"

Resource = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Cluster:
    """A cluster, and the command that reaches it and no other."""

    command: tuple[str, ...]
    context: str | None
    """None: MicroK8s of this machine."""

    def __str__(self) -> str:
        """How messages name it."""
        return "MicroK8s" if self.context is None else f"the context {self.context}"

    @property
    def shown(self) -> str:
        """How the user calls kubectl for this cluster."""
        return "microk8s kubectl" if self.context is None else f"kubectl --context={self.context}"

    def run(self, arguments: Sequence[str], *, what: str, seconds_max: float = CALL_SECONDS_MAX) -> str:
        """Run kubectl to its end and return its output.

        Raises:
            DeployError: it failed or took too long; one line.
        """
        return self._run(arguments, what=what, text=None, seconds_max=seconds_max).stdout

    def get(self, *arguments: str) -> Resource:
        """What `kubectl get` returns: a resource, or a list with `items`; a list without items if there is nothing."""
        command = ["get", REQUEST_TIMEOUT, "--ignore-not-found", "--output=json", *arguments]
        text = self.run(command, what=f"reading {arguments[0]} from {self}")
        found: Resource = json.loads(text) if text.strip() else {"items": []}
        return found

    def version(self) -> Resource:
        """What `kubectl version` returns."""
        command = ["version", REQUEST_TIMEOUT, "--output=json"]
        version: Resource = json.loads(self.run(command, what=f"connecting to {self}"))
        return version

    def definitions(self) -> frozenset[str]:
        """The names of the custom resource definitions."""
        command = ["get", "customresourcedefinitions", REQUEST_TIMEOUT, "--output=name"]
        names = self.run(command, what=f"reading custom resources from {self}").split()
        return frozenset(name.partition("/")[2] for name in names)

    def apply(self, resources: Iterable[Resource], *, is_trial: bool = False) -> None:
        """Apply resources; as a trial the API server checks everything and stores nothing.

        Raises:
            DeployError: it refuses something. A pod that its namespace would refuse is refused here, too: of a Deployment
                the API server only warns.
        """
        # Without `---` between them, which kubectl 1.32 refuses after a document in JSON.
        text = "".join(json.dumps(resource) + "\n" for resource in resources)
        trial = ["--dry-run=server"] if is_trial else []
        command = ["apply", "--server-side", "--force-conflicts", f"--field-manager={MANAGER}", *trial, "--filename=-"]
        what = f"the trial on {self}" if is_trial else f"applying to {self}"
        done = self._run(command, what=what, text=text, seconds_max=5 * CALL_SECONDS_MAX)
        refused = [line for line in done.stderr.splitlines() if POD_REFUSED in line]
        if refused:
            raise DeployError(f"{what} failed: {refused[0].removeprefix('Warning: ')}")

    def _run(
        self, arguments: Sequence[str], *, what: str, text: str | None, seconds_max: float
    ) -> subprocess.CompletedProcess[str]:
        try:
            done = subprocess.run(
                [*self.command, *arguments],
                input=text,
                stdin=subprocess.DEVNULL if text is None else None,
                capture_output=True,
                text=True,
                check=False,
                timeout=seconds_max,
            )
        except OSError as error:
            raise DeployError(f"{what} failed: {error}") from None
        except subprocess.TimeoutExpired:
            raise DeployError(f"{what} did not finish within {seconds_max:g} s") from None
        if done.returncode != 0:
            raise DeployError(f"{what} failed: {explain(done.stderr) or f'exit code {done.returncode}'}")
        return done


def choose(context: str | None) -> Cluster:
    """MicroK8s of this machine, or the cluster of the named context. The current context of a kubeconfig is never used.

    Raises:
        DeployError: there is no MicroK8s, or no such context.
    """
    if context is None:
        microk8s = shutil.which("microk8s")
        if microk8s is None:
            raise DeployError(NO_MICROK8S)
        return Cluster((microk8s, "kubectl"), None)
    kubectl = find("kubectl", hint=KUBECTL_HINT)
    cluster = Cluster((kubectl, f"--context={context}"), context)
    names = Cluster((kubectl,), None).run(["config", "get-contexts", "--output=name"], what="reading the kubeconfig")
    if context not in names.split():
        raise DeployError(
            f"there is no context {context} in your kubeconfig: it has {', '.join(names.split()) or 'none'}"
        )
    return cluster


def explain(error: str) -> str:
    """The line of kubectl's or microk8s' error output that says what is wrong."""
    if "Insufficient permissions to access MicroK8s" in error:
        return NO_PERMISSION
    lines = [line.strip() for line in error.splitlines() if line.strip()]
    refused = [
        line for line in lines if line.startswith(("Error from server", "error:", "The connection to the server"))
    ]
    return refused[0] if refused else last_line("\n".join(lines))
