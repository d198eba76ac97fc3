"""Waits for what the cluster does after an apply, and says why it does not."""

from __future__ import annotations

import time
from collections.abc import Callable

from deploy.k8s import observed
from deploy.k8s.cluster import NAMESPACE, Cluster
from deploy.k8s.observed import JobState
from deploy.programs import DeployError

PART_OF = "--selector=app.kubernetes.io/part-of=payflow"
IN_NAMESPACE = f"--namespace={NAMESPACE}"
JOB_SECONDS_MAX = 3600.0
"""A migration that takes longer goes on; the command ends."""

ROLLOUT_SECONDS_MAX = 600.0
"""Of every Deployment before Kubernetes gives it up, too."""

PAUSE_SECONDS = 2.0
TROUBLES_MAX = 3


class Waiting:
    """Looks at the cluster every two seconds until something is done or its time is over."""

    def __init__(
        self,
        cluster: Cluster,
        *,
        clock: Callable[[], float] = time.monotonic,
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        self._cluster = cluster
        self._clock = clock
        self._pause = pause

    def for_jobs(self, names: list[str]) -> None:
        """Wait until Jobs are complete.

        Raises:
            DeployError: one failed, or they take too long.
        """

        def look() -> list[str]:
            states = observed.job_states(self._cluster.get("jobs", IN_NAMESPACE, PART_OF))
            failed = [name for name in names if states.get(name) is JobState.FAILED]
            if failed:
                logs = f"{self._cluster.shown} -n {NAMESPACE} logs job/{failed[0]}"
                raise DeployError(f"{', '.join(failed)} failed; see: {logs}")
            return [name for name in names if states.get(name) is not JobState.COMPLETE]

        self._until_empty(look, JOB_SECONDS_MAX)

    def for_rollouts(self, kind: str) -> None:
        """Wait until all Deployments or StatefulSets run their newest version.

        Raises:
            DeployError: they take too long.
        """
        self._until_empty(
            lambda: observed.unready(self._cluster.get(kind, IN_NAMESPACE, PART_OF)),
            ROLLOUT_SECONDS_MAX,
        )

    def _until_empty(self, look: Callable[[], list[str]], seconds_max: float) -> None:
        end = self._clock() + seconds_max
        while missing := look():
            if self._clock() >= end:
                pods = self._cluster.get("pods", IN_NAMESPACE, PART_OF)
                why = "; ".join(observed.troubles(pods)[:TROUBLES_MAX])
                raise DeployError(
                    f"not ready after {seconds_max:g} s: {', '.join(missing)}" + (f" ({why})" if why else "")
                )
            self._pause(PAUSE_SECONDS)
