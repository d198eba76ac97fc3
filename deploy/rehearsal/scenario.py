"""The rehearsal itself: up, a payment, a worker and the broker killed, down. It runs inside of the namespaces."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from contextlib import suppress

from deploy.compose import prepare
from deploy.local import seed
from deploy.programs import DeployError
from deploy.rehearsal import kube, namespaces, payments, podman
from deploy.rehearsal.report import Record
from deploy.rehearsal.stack import Stack
from deploy.rehearsal.workspace import Workspace
from deploy.secrets.files import STORE
from deploy.smoke.settings import EMAIL, PASSWORD, Operator
from payflow.errors import PayFlowError

URL = "http://127.0.0.1:8000"
WORKER = "transaction-worker"
BROKER = "rabbitmq"
TRANSFERS = 20
OPERATOR = {EMAIL: seed.OPERATOR, PASSWORD: seed.PASSWORD}
"""The operator that `DEMO=1` creates."""


def run(workspace: Workspace) -> None:
    """Run all steps and print what they covered.

    Raises:
        DeployError: a step failed. Everything was taken down all the same.
    """
    namespaces.enter()
    record = Record()
    prepare.prepare(workspace.run)
    stack = Stack(workspace)
    with podman.service(workspace):
        try:
            _start(record, stack, workspace)
            asyncio.run(_disturb(record, stack))
            with record.step("podman kube play") as seen:
                seen.append(
                    f"{len(kube.play(workspace, stack.networks()))} Deployments of deploy/k8s/base ready, one pod each"
                )
        except BaseException:
            with suppress(DeployError):
                _stop(record, stack)
            raise
        _stop(record, stack)
    record.show()


def _start(record: Record, stack: Stack, workspace: Workspace) -> None:
    by_tag = stack.use_standins()
    with record.step("make compose-up DEMO=1") as seen:
        stack.make("compose-up", "DEMO=1")
        states = [it["State"]["Status"] for it in stack.containers()]
        seen.append(f"{states.count('running')} containers healthy, {states.count('exited')} jobs done")
        if by_tag:
            seen.append(f"stand-ins by tag: {', '.join(by_tag)}")
    with record.step("secrets in files only") as seen:
        seen.append(_check_secrets(stack, workspace))
    with record.step("make smoke") as seen:
        stack.make("smoke", f"URL={URL}", environment=OPERATOR)
        seen.append(f"one transfer COMPLETED through {URL}")
    with record.step("make doctor TARGET=compose") as seen:
        seen.append(stack.make("doctor", "TARGET=compose"))


def _check_secrets(stack: Stack, workspace: Workspace) -> str:
    """No secret is in what `docker inspect` shows."""
    values = set(json.loads((workspace.run / STORE).read_text()).values())
    shown = {it["Name"]: json.dumps(it) for it in stack.containers()}
    found = sorted(name for name, text in shown.items() if any(value in text for value in values))
    if found:
        raise DeployError(f"docker inspect shows secrets of {', '.join(found)}")
    return f"none of {len(values)} in docker inspect of {len(shown)} containers"


async def _disturb(record: Record, stack: Stack) -> None:
    operator = Operator(seed.OPERATOR, seed.PASSWORD)
    try:
        async with payments.opened(URL, operator) as sent:
            for service in (WORKER, BROKER):
                with record.step(f"{service} killed and back") as seen:
                    seconds = await sent.during(_outage(stack, service), count=TRANSFERS)
                    seen.append(f"{TRANSFERS} transfers COMPLETED, {seconds:.1f} s after the first request")
            with record.step("ledger verified") as seen:
                seen.append(f"{await sent.check_ledger()} checks ok")
    except PayFlowError as error:
        raise DeployError(f"a payment failed: {error}") from None


def _outage(stack: Stack, service: str) -> Callable[[], Awaitable[None]]:
    async def kill_and_start() -> None:
        await asyncio.to_thread(stack.kill, service)
        await asyncio.to_thread(stack.start, service)

    return kill_and_start


def _stop(record: Record, stack: Stack) -> None:
    with record.step("make compose-down VOLUMES=1") as seen:
        stack.make("compose-down", "VOLUMES=1", "YES=1")
        remaining = stack.remains()
        if remaining:
            raise DeployError(f"make compose-down left {', '.join(remaining)}")
        seen.append("no container, volume or network left")
