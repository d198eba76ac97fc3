"""`make restore-drill`: destroy the database server under load, restore it from its backups, and account for every payment.

Each step is the one that docs/operations/restore.md describes, on a private stack. In the second run the log is not received in
the last seconds and no worker runs: what is accepted then is lost, and its commands are in the broker.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import shutil
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp

from deploy.local import files, install, progress, seed
from deploy.local.commands import running
from deploy.local.engines import Postgres
from deploy.local.errors import LocalError
from deploy.local.home import REPOSITORY, Home
from deploy.local.payflow import PayFlow
from deploy.local.ports import LOOPBACK, find_free
from deploy.local.roles import ROLES
from tests.chaos import final_state
from tests.chaos.checks import Verdict, evaluate
from tests.chaos.client import ACCEPTED, REFUSED, Client
from tests.chaos.load import Load, register_clients
from tests.chaos.losses import Losses, forget, measure
from tests.chaos.run import under_load
from tests.harness.books import faults_when_quiet
from tests.harness.stack import Stack

CLIENTS = 24
BEFORE_SECONDS = 5.0
AFTER_BACKUP_SECONDS = 8.0
BLIND_SECONDS = 5.0
WITHOUT_WORKERS_SECONDS = 2.0
QUIET_SECONDS_MAX = 120.0
COMMAND_SECONDS_MAX = 300.0
SCRIPT = REPOSITORY / "deploy" / "backup" / "backup.sh"
WORKERS = ("transaction-worker-1", "transaction-worker-2")
SETTINGS = {"PAYFLOW_RATE_LIMITS": "off", "PAYFLOW_CANARY": "off"}


@dataclass
class Drill:
    """One run: a private stack below `home`, its backups beside it."""

    home: Home
    seed: int
    blind_seconds: float
    """For how long before the loss of the server its log is not received."""
    failures: list[str] = field(default_factory=list)
    destroyed_at: float = 0.0
    """By the monotonic clock."""

    def __post_init__(self) -> None:
        caller = {name: value for name, value in os.environ.items() if not name.startswith("PAYFLOW_")}
        self.plan = PayFlow(self.home, caller | SETTINGS | {"PAYFLOW_GATEWAY_PORT": str(find_free())})
        self.stack = Stack(self.home.path)

    @property
    def postgres(self) -> Postgres:
        """The server of all databases."""
        assert isinstance(self.plan._private.postgres, Postgres), "a stack without clusters"
        return self.plan._private.postgres

    @property
    def backups(self) -> Path:
        """The folder of the backups."""
        return self.home.path / "backups"

    async def run(self) -> bool:
        """Run it, print its figures; returns whether nothing was lost beyond the window and nothing was paid twice."""
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
            began = time.monotonic()
            async with running(self.home, self.plan, report=_quiet):
                base = f"http://{LOOPBACK}:{self.plan.gateway_port}"
                login = (seed.OPERATOR, seed.PASSWORD)
                load = await register_clients(session, base, size=CLIENTS, seed=self.seed, operator=login, began=began)
                await load.fund()
                head = await self._load_until_destroyed(load)
            shutil.rmtree(self.postgres.data)
            losses = await self._restore(load, Losses(self.destroyed_at - began), head)
            return self._show(losses)

    async def _load_until_destroyed(self, load: Load) -> str:
        """Back up under load, then kill the server; returns the head of the chain as it was recorded outside of it."""
        async with under_load(load):
            async with self._receiving():
                await asyncio.sleep(BEFORE_SECONDS)
                print((await self._backup("base")).splitlines()[0], flush=True)
                await asyncio.sleep(AFTER_BACKUP_SECONDS)
                print(await self._backup("verify"), flush=True)
                head = await self._head()
                if not self.blind_seconds:
                    await self._destroy()
                    return head
            await asyncio.sleep(max(0.0, self.blind_seconds - WITHOUT_WORKERS_SECONDS))
            for worker in WORKERS:
                await self.stack.take_down(worker)
            await asyncio.sleep(WITHOUT_WORKERS_SECONDS)
            await self._destroy()
        return head

    async def _destroy(self) -> None:
        (self.home.down / "postgres").touch()
        self.postgres.kill()
        self.destroyed_at = time.monotonic()

    async def _restore(self, load: Load, losses: Losses, head: str) -> Losses:
        """The runbook, step by step; then every client repeats every request."""
        print(await self._backup("restore", str(self.postgres.data)), flush=True)
        (self.home.down / "postgres").unlink()
        for role in ROLES:
            (self.home.down / role.name).touch()
        async with running(self.home, self.plan, report=_quiet):
            await self._command("compare")
            await measure(self.stack, load, losses)
            await self._command("reset")
            await self._bring_up([role.name for role in ROLES if role.name != "gateway"])
            await self._command("compare")
            await self._bring_up(["gateway"])
            await self._verify_ledger(load, head)
            losses.seconds = time.monotonic() - self.destroyed_at
            async with self._receiving():
                print((await self._backup("base")).splitlines()[0], flush=True)
            forget(load, losses)
            await self._repeat(load, losses)
            await self._conclude(load)
            await self._command("compare")
            if "seal_head_lost" in self.home.log("wallet-seal").read_text():
                self.failures.append("the sealer lost the head of its chain")
        return losses

    async def _bring_up(self, names: list[str]) -> None:
        for name in names:
            self.stack.bring_up(name)
        await asyncio.gather(*(self.stack.ready(name) for name in names))

    async def _verify_ledger(self, load: Load, head: str) -> None:
        """`payflow ledger verify` as the operator, with a head from before the lost time."""
        environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(self.home.path),
            "PAYFLOW_GATEWAY": load.operator.base,
            "PAYFLOW_PASSWORD": seed.PASSWORD,
        }
        payflow = Path(sys.executable).with_name("payflow")
        for arguments in (["login", seed.OPERATOR], ["ledger", "verify", "--head", head]):
            await self._check([str(payflow), *arguments], environment)

    async def _repeat(self, load: Load, losses: Losses) -> None:
        """Each client sends each of its requests again, with the same key."""

        async def repeat(client: Client) -> None:
            for intent in client.intents:
                kept = intent.transfer_id
                async with asyncio.timeout(QUIET_SECONDS_MAX):
                    while (await client.attempt(intent, seconds=12.0)).status not in ACCEPTED | REFUSED:
                        await asyncio.sleep(0.2)
                if kept is not None and intent.attempts[-1].transfer_id != kept:
                    self.failures.append(f"key {intent.key} made {kept}, now {intent.attempts[-1].transfer_id}")
                elif kept is not None:
                    losses.replayed += 1
                elif intent.attempts[-1].transfer_id is not None:
                    losses.accepted_again += intent.key in losses.keys

        await asyncio.gather(*(repeat(client) for client in [*load.clients, load.operator]))

    async def _conclude(self, load: Load) -> None:
        """What clients and databases say at the end: nothing lost, nothing paid twice."""
        await load.finalize(QUIET_SECONDS_MAX)
        verdict: Verdict = evaluate(load.history, await final_state.read(load))
        self.failures += verdict.violations
        self.failures += await faults_when_quiet(self.stack, seconds=QUIET_SECONDS_MAX)

    @asynccontextmanager
    async def _receiving(self) -> AsyncIterator[None]:
        """Receive the log of the server during the block."""
        self.backups.mkdir(exist_ok=True)
        owner = self.postgres.data.stat()
        os.chown(self.backups, owner.st_uid, owner.st_gid)
        with (self.home.logs / "backup.log").open("ab") as log:
            receiver = await asyncio.create_subprocess_exec(
                *self._script("wal"), env=self._login(), stdout=log, stderr=log, cwd=self.backups
            )
            try:
                while not list(self.backups.glob("*/wal/*.partial")):
                    await asyncio.sleep(0.1)
                yield
            finally:
                receiver.terminate()
                await receiver.wait()

    async def _backup(self, *arguments: str) -> str:
        return await self._check(self._script(*arguments), self._login())

    def _script(self, *arguments: str) -> list[str]:
        return [*self.postgres._launcher(), str(SCRIPT), *arguments]

    def _login(self) -> dict[str, str]:
        password = self.home.path / "backup-password"
        files.write_atomically(password, self.postgres._secrets.password("postgres:payflow_backup"), mode=0o444)
        return {
            "PATH": f"{self.postgres.find_programs()}:{os.environ['PATH']}",
            "PGHOST": LOOPBACK,
            "PGPORT": str(self.postgres._port()),
            "PAYFLOW_BACKUP_FOLDER": str(self.backups),
            "PAYFLOW_BACKUP_PASSWORD_FILE": str(password),
        }

    async def _head(self) -> str:
        [row] = await self.stack.query("wallet", "SELECT number, hash FROM blocks ORDER BY number DESC LIMIT 1")
        return f"{row['number']}:{row['hash'].hex()}"

    async def _command(self, name: str) -> None:
        """`python -m deploy.backup`, as in the runbook."""
        command = [sys.executable, "-m", "deploy.backup", name, "--stack", str(self.home.stack)]
        print(f"{name}: " + (await self._check(command, dict(os.environ))).replace("\n", "\n  "), flush=True)

    async def _check(self, command: list[str], environment: dict[str, str]) -> str:
        """Run a command to its end; its output. A failure is recorded, and the drill goes on to show what follows from it."""
        child = await asyncio.create_subprocess_exec(
            *command, env=environment, cwd=REPOSITORY, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
        )
        async with asyncio.timeout(COMMAND_SECONDS_MAX):
            output, _ = await child.communicate()
        text = output.decode(errors="replace").strip()
        if child.returncode:
            self.failures.append(f"{' '.join(command[-4:])} exited with {child.returncode}: {text[-500:]}")
        return text

    def _show(self, losses: Losses) -> bool:
        document = losses.document() | {
            "seed": self.seed,
            "blind_seconds": self.blind_seconds,
            "failures": self.failures,
        }
        files.write_json(self.home.path.parent / f"restore-drill-{self.blind_seconds:g}.json", document)
        print(json.dumps(document, indent=2), flush=True)
        return not self.failures


def _quiet(_line: str) -> None:
    """The stack's own output is in its logs."""


async def main() -> int:
    """Both runs; returns the exit code."""
    number = int(os.environ.get("SEED") or random.SystemRandom().randrange(10**6))
    await install.ensure(progress.report)
    parent = Home.from_environment(os.environ).path / "restore-drill"
    good = True
    for blind_seconds in (0.0, float(os.environ.get("BLIND") or BLIND_SECONDS)):
        home = Home(parent / f"stack-{blind_seconds:g}")
        shutil.rmtree(home.path, ignore_errors=True)
        print(f"seed {number}; the log is received until {blind_seconds:g} s before the loss", flush=True)
        good = await Drill(home, number, blind_seconds).run() and good
    print(
        "restored: nothing lost beyond the window, nothing paid twice" if good else "the restore FAILED; see failures"
    )
    return 0 if good else 1


if __name__ == "__main__":
    try:
        sys.exit(asyncio.run(main()))
    except LocalError as error:
        print(f"payflow: {error}", file=sys.stderr)
        sys.exit(2)
