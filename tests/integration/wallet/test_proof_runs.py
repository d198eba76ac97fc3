"""Requested runs of the proof: progress, results, concurrent requests, and processes that stop during a run."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from services.chassis.database import DatabaseUnavailable, Pool
from services.chassis.roles import Runtime
from services.contracts.refusals.wallet import ProofRunning
from services.wallet import chain, commands, commands_proof_run, proof, proof_runner, sealer
from services.wallet.chain import ChainReport
from services.wallet.proof import CHECKS_TOTAL, verify
from services.wallet.proof_runner import ProofRunner
from services.wallet.seal import Head
from services.wallet.sealer import Sealer
from services.wallet.store import Proof
from services.wallet.store_proof_run import Progress, ProofRun
from tests.harness.sealed_ledgers import BLOCKS, Ledger, faults

SECONDS_MAX = 60
UNKNOWN = Head(9, bytes(32))


@pytest.fixture
def runner(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> ProofRunner:
    """A runner that does not work yet."""
    monkeypatch.setattr(proof_runner, "PROGRESS_SECONDS", 0.05)
    return ProofRunner(ledger.pool, ledger.proof_pool, instance="test")


@asynccontextmanager
async def working(runner: ProofRunner) -> AsyncIterator[None]:
    """The runner works, and is stopped at the end, as when its process stops."""
    task = asyncio.create_task(runner.run())
    yield
    task.cancel()
    await asyncio.wait({task})


@asynccontextmanager
async def entries_locked(ledger: Ledger) -> AsyncIterator[None]:
    """No check of entries can proceed."""
    async with ledger.superuser.transaction():
        await ledger.superuser.execute("LOCK TABLE entries")
        yield


async def ended(ledger: Ledger, run: ProofRun) -> ProofRun:
    """The run when it has ended."""
    async with asyncio.timeout(SECONDS_MAX):
        while (found := await commands_proof_run.get_run(ledger.pool, run.id)).state == "running":
            await asyncio.sleep(0.02)
    return found


async def last_proof(ledger: Ledger) -> Proof:
    found = await commands.find_last_proof(ledger.pool)
    assert found is not None
    return found


async def test_a_run_passes(ledger: Ledger, runner: ProofRunner) -> None:
    """A run of everything compares all blocks, and its result becomes the last proof."""
    async with working(runner):
        started, is_new = await runner.start(whole=True, required=None)
        run = await ended(ledger, started)

    assert (True, "running", "passed") == (is_new, started.state, run.state)
    assert (CHECKS_TOTAL, BLOCKS, BLOCKS) == (
        run.progress.checks_done, run.progress.blocks_done, run.progress.blocks_total
    )  # fmt: skip
    assert run.proof is not None
    assert CHECKS_TOTAL == len(run.proof.checks)
    assert run.proof == await last_proof(ledger)


async def test_a_run_fails(ledger: Ledger, runner: ProofRunner) -> None:
    """A run that finds a contradiction names it, and becomes the last proof."""
    await ledger.tamper("UPDATE accounts SET held = held + 1 WHERE id = $1", ledger.alice)

    async with working(runner):
        run = await ended(ledger, (await runner.start(whole=False, required=None))[0])

    assert "failed" == run.state
    assert run.proof == await last_proof(ledger)
    assert run.proof is not None
    assert {"held_equals_holds": f"id {ledger.alice}, held 1"} == {
        check.name: check.detail for check in run.proof.checks if not check.ok
    }


async def test_a_run_with_a_required_block_is_not_the_last_proof(ledger: Ledger, runner: ProofRunner) -> None:
    """A block that one caller requires and that is missing fails this run, not the ledger."""
    before = await last_proof(ledger)

    async with working(runner):
        run = await ended(ledger, (await runner.start(whole=False, required=UNKNOWN))[0])

    assert "failed" == run.state
    assert before == await last_proof(ledger)


async def test_a_contradiction_is_stored_whatever_the_caller_requires(ledger: Ledger, runner: ProofRunner) -> None:
    """A run with a required block that finds a changed row is the last proof: the next run compares everything."""
    head = await ledger.superuser.fetchrow("SELECT number, hash FROM blocks ORDER BY number DESC LIMIT 1")
    assert head is not None
    await ledger.tamper("UPDATE outcomes SET description = 'rent' WHERE transfer_id = $1", ledger.posted[0])

    async with working(runner):
        run = await ended(ledger, (await runner.start(whole=True, required=Head(*head)))[0])

    assert "failed" == run.state
    assert run.proof == await last_proof(ledger)


async def test_progress_is_visible(ledger: Ledger, runner: ProofRunner) -> None:
    """During a run its check in progress is shown, and its time of update moves on."""
    async with working(runner), entries_locked(ledger):
        started, _ = await runner.start(whole=True, required=None)
        async with asyncio.timeout(SECONDS_MAX):
            while (run := await commands_proof_run.get_run(ledger.pool, started.id)).progress.current is None:
                await asyncio.sleep(0.02)
            while (await commands_proof_run.get_run(ledger.pool, started.id)).updated_at <= run.updated_at:
                await asyncio.sleep(0.02)

    assert ("running", "entries_sum_to_zero", 0) == (run.state, run.progress.current, run.progress.checks_done)


@pytest.mark.parametrize("whole", [True, False])
async def test_concurrent_requests_share_one_run(ledger: Ledger, runner: ProofRunner, whole: bool) -> None:
    """Requests at the same time, in two processes, start one run; one that needs less joins it."""
    other = ProofRunner(ledger.pool, ledger.proof_pool, instance="other")

    found = await asyncio.gather(*(each.start(whole=whole, required=None) for each in [runner, other] * 5))
    joined, is_new = await other.start(whole=False, required=None)

    assert 1 == len({run.id for run, _ in found} | {joined.id})
    assert (1, False) == (sum(new for _, new in found), is_new)


async def test_a_run_with_other_options_is_refused(ledger: Ledger, runner: ProofRunner) -> None:
    """While a run is in progress, one that checks more, or another block, is refused."""
    await runner.start(whole=False, required=None)

    for whole, required in ((True, None), (False, UNKNOWN)):
        with pytest.raises(ProofRunning):
            await runner.start(whole=whole, required=required)


async def test_a_silent_run_is_abandoned(ledger: Ledger, runner: ProofRunner) -> None:
    """The run of a process that died is shown as abandoned; the next request starts another one."""
    dead, _ = await runner.start(whole=True, required=None)
    await ledger.tamper("UPDATE proof_runs SET updated_at = updated_at - interval '1 minute' WHERE id = $1", dead.id)

    shown = await commands_proof_run.get_run(ledger.pool, dead.id)
    following, is_new = await runner.start(whole=False, required=None)
    stored = await ledger.pool.fetchrow("SELECT state, ended_at FROM proof_runs WHERE id = $1", dead.id)

    assert ("abandoned", True) == (shown.state, is_new)
    assert dead.id != following.id
    assert stored is not None
    assert ("abandoned", True) == (stored["state"], stored["ended_at"] is not None)


async def test_a_stopped_process_abandons_its_run(ledger: Ledger, runner: ProofRunner) -> None:
    """A process that stops during a run ends it at once, without a result."""
    before = await last_proof(ledger)

    async with entries_locked(ledger):
        async with working(runner):
            started, _ = await runner.start(whole=True, required=None)
            async with asyncio.timeout(SECONDS_MAX):
                while (await commands_proof_run.get_run(ledger.pool, started.id)).progress.current is None:
                    await asyncio.sleep(0.02)
        run = await commands_proof_run.get_run(ledger.pool, started.id)

    assert ("abandoned", None) == (run.state, run.proof)
    assert before == await last_proof(ledger)


async def test_a_run_that_was_declared_abandoned_stops(
    ledger: Ledger, runner: ProofRunner, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process that was frozen finds its run abandoned: it stores no result, and works on the next run."""
    before, released, real = await last_proof(ledger), asyncio.Event(), proof.verify

    async def delayed(pool: Pool, required: Head | None, *, whole: bool, progress: Progress) -> Proof:
        await released.wait()
        return await real(pool, required, whole=whole, progress=progress)

    monkeypatch.setattr(proof, "verify", delayed)
    async with working(runner):
        frozen, _ = await runner.start(whole=True, required=None)
        await ledger.pool.execute("UPDATE proof_runs SET state = 'abandoned', ended_at = now()")
        released.set()
        following, is_new = await runner.start(whole=True, required=UNKNOWN)
        last = await ended(ledger, following)

    assert is_new
    assert "abandoned" == (await commands_proof_run.get_run(ledger.pool, frozen.id)).state
    assert "failed" == last.state
    assert before == await last_proof(ledger)


async def test_an_error_abandons_the_run(ledger: Ledger, runner: ProofRunner, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run that ends by an error is abandoned; the process works on the next one."""

    async def fail(*_: object, **__: object) -> Proof:
        raise RuntimeError("a row that cannot be read")

    async with working(runner):
        with monkeypatch.context() as patched:
            patched.setattr(proof, "verify", fail)
            broken = await ended(ledger, (await runner.start(whole=True, required=None))[0])
        following = await ended(ledger, (await runner.start(whole=True, required=None))[0])

    assert ("abandoned", "passed") == (broken.state, following.state)


async def test_a_head_that_is_lost_during_the_run_is_not_returned(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a failover the newest block that was read may not exist: the run has no result, and the next one checks again."""

    async def examine(*_: object, **__: object) -> ChainReport:
        return ChainReport(head=UNKNOWN)

    monkeypatch.setattr(chain, "examine", examine)

    with pytest.raises(DatabaseUnavailable):
        await verify(ledger.proof_pool)


async def test_the_periodic_proof_compares_old_blocks_again(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    """Guarantee 16: a change of a block that was verified before is found by a periodic run, without any request."""
    monkeypatch.setattr(chain, "REPEATED_ROWS", 1)
    monkeypatch.setattr(sealer, "WHOLE_PROOF_SHARE", 3)
    runtime = Runtime(service="wallet", role="seal", instance="test")
    periodic = asyncio.create_task(Sealer(ledger.seal_pool, runtime, every_seconds=1, proof_every_seconds=0.01).prove())
    before = await last_proof(ledger)
    async with asyncio.timeout(SECONDS_MAX):
        while (verified := await last_proof(ledger)).at == before.at:
            await asyncio.sleep(0.02)

        await ledger.tamper("UPDATE outcomes SET description = 'rent' WHERE transfer_id = $1", ledger.posted[0])
        while (found := await last_proof(ledger)).ok:
            await asyncio.sleep(0.02)
    runtime.stopping.set()
    await periodic

    assert verified.ok
    assert "sealed_rows_unchanged" in faults(found)


async def test_old_runs_are_removed(ledger: Ledger, runner: ProofRunner) -> None:
    """A run that ended more than 30 days ago is removed by the next request."""
    async with working(runner):
        old = await ended(ledger, (await runner.start(whole=False, required=None))[0])
        await ledger.tamper("UPDATE proof_runs SET ended_at = ended_at - interval '31 days' WHERE id = $1", old.id)
        await runner.start(whole=False, required=None)

    assert [] == await ledger.pool.fetch("SELECT FROM proof_runs WHERE id = $1", old.id)
