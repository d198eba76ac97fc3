"""Crash every process on the money path at every point: after a restart the transfer has exactly one outcome.

The short form runs each important moment once; `PAYFLOW_DRILLS=full` runs every moment, for the first and the second
transfer, with and without a copy of the work.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator, Iterable
from pathlib import Path
from uuid import UUID

import pytest

from services.chassis import crash_points
from tests.chaos import crash_table
from tests.chaos.crash_drill import Drill, restart
from tests.chaos.crash_rig import AMOUNT, LONG_SECONDS, Rig, Sent, open_rig
from tests.chaos.crash_table import (
    CLIENT,
    COMPLETED,
    EXPIRED,
    MOMENTS,
    NEVER_RETURNS,
    NOTHING,
    POISONED,
    REDELIVERY,
    ROLES,
    TRANSACTION,
    VOIDING,
    WORKER_ROLE,
    Moment,
    Row,
)
from tests.harness import drills
from tests.harness.databases import DataFolder

DOCUMENT = Path(__file__).parents[2] / "docs" / "crash-points.md"
ROWS = crash_table.rows(full=drills.FULL)
RECORDING = "after-response:nothing@1"
"""A point that is never reached: the process keeps running and logs the points it passes."""

STALE_SECONDS = 0.5
POSTED_IN_SECONDS = 6.0
"""For transfers that must be posted before they expire."""


@pytest.fixture(scope="module")
async def rig(tmp_path_factory: pytest.TempPathFactory, data_folder: DataFolder) -> AsyncIterator[Rig]:
    async with open_rig(tmp_path_factory.mktemp("crash"), data_folder) as started:
        yield started


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name.replace(" ", "-"))
async def test_a_crash_at_any_point_is_repaired(rig: Rig, row: Row) -> None:
    """Guarantee 31, by points: a crash and a restart there leave one transfer, one outcome, one notification each."""
    await rig.age(STALE_SECONDS if row.moment.scene in (EXPIRED, VOIDING) else LONG_SECONDS)
    drill = Drill(rig, row)
    try:
        await drill.run()
    finally:
        await drill.heal()
    for sent in drill.sent:
        await check_transfer(rig, sent, row.moment.status)

    await check_queues(rig, row.moment)
    if not row.copied:
        assert drill.found in row.moment.found
        await check_repair(rig, drill.sent[-1], row.moment, drill.found)


@pytest.mark.parametrize(
    "moment", NEVER_RETURNS if drills.FULL else NEVER_RETURNS[1:2], ids=lambda moment: moment.name.replace(" ", "-")
)
async def test_a_worker_that_never_returns(rig: Rig, moment: Moment) -> None:
    """Guarantee 4: a transfer the worker had posted is completed by the reversal; one it had not posted is failed."""
    await rig.age(POSTED_IN_SECONDS)
    await rig.take_down(WORKER_ROLE)
    await rig.start(WORKER_ROLE, crash_at=f"{moment.point}@1")
    sent = await rig.draft()
    try:
        await rig.submit(sent)
        await rig.died(WORKER_ROLE)
        found = await rig.state(sent)
        await rig.finalized(sent)
        finalized = await rig.state(sent)
    finally:
        await restart(rig, WORKER_ROLE)

    assert (moment.found, moment.status) == ((found,), finalized)
    await check_transfer(rig, sent, moment.status)


async def test_every_point_that_is_passed_has_a_row(rig: Rig) -> None:
    """With every process logging its points, transfers pass only points that have a row or are known to be harmless."""
    await rig.age(STALE_SECONDS)
    for name in ROLES:
        await rig.take_down(name)
    since = {name: rig.home.log(name).stat().st_size for name in ROLES}
    await start_all(rig, [name for name in ROLES if name != WORKER_ROLE], RECORDING)
    await complete_transfer(rig)
    await rig.stop(TRANSACTION)
    rig.age_seconds = LONG_SECONDS
    await start_all(rig, [TRANSACTION, WORKER_ROLE], RECORDING)
    await complete_transfer(rig)
    await rig.delivered()
    await rig.quiet()
    for name in ROLES:
        await rig.stop(name)
    await start_all(rig, ROLES)

    harmless = [re.compile(pattern) for pattern in crash_table.OFF_PATH]
    passed = {
        name: {point for point in rig.passed(name, since[name]) if not any(one.fullmatch(point) for one in harmless)}
        for name in ROLES
    }
    rows = {name: {m.point for m in MOMENTS if m.role == name and not m.scene.disturbed} for name in ROLES}
    without_a_row = {name: sorted(passed[name] - rows[name]) for name in ROLES if passed[name] - rows[name]}
    never_passed = {name: sorted(rows[name] - passed[name]) for name in ROLES if rows[name] - passed[name]}

    assert ({}, {}) == (without_a_row, never_passed)


@pytest.mark.parametrize("role", ROLES)
def test_every_seam_of_every_role_is_covered(role: str) -> None:
    """Each seam of the chassis has a row for each role, or a reason why the role never passes it."""
    shown = {moment.point.partition(":")[0] for moment in MOMENTS if moment.role == role}
    reasoned = [seam for seams in crash_table.UNREACHABLE[role] for seam in seams.split()]

    assert sorted(crash_points.SEAMS) == sorted([*shown, *reasoned])


def test_the_document_shows_the_table() -> None:
    """docs/crash-points.md lists every moment, the points without one with the reason, and the number of rows."""
    text = DOCUMENT.read_text()

    assert crash_table.as_markdown() in text
    assert f"{len(crash_table.rows(full=True))} rows" in text
    assert f"{len(crash_table.rows(full=False))} of them" in text


async def start_all(rig: Rig, names: Iterable[str], crash_at: str = "") -> None:
    await asyncio.gather(*(rig.start(name, crash_at=crash_at) for name in names))


async def complete_transfer(rig: Rig) -> None:
    """Send a transfer to a new receiver and wait until its users are notified."""
    sent = await rig.draft()
    await rig.submit(sent)
    await rig.finalized(sent)


async def check_transfer(rig: Rig, sent: Sent, status: str) -> None:
    """One transfer for the key, one matching outcome, money moved once or not at all, one notification for each user."""
    await rig.finalized(sent)
    await rig.delivered()
    await rig.quiet()
    transfer_id, completed = sent.transfer_id, status == COMPLETED
    transfers = await rig.pools["transaction"].fetch(
        "SELECT id, status FROM transfers WHERE to_wallet_id = $1", sent.wallet_id
    )
    events = await rig.pools["transaction"].fetchval(
        "SELECT count(*) FROM outbox WHERE topic = 'transfers.finalized' AND subject_ids @> ARRAY[$1::uuid]",
        transfer_id,
    )
    outcomes = await rig.pools["wallet"].fetch("SELECT outcome FROM outcomes WHERE transfer_id = $1", transfer_id)
    moved = await rig.pools["wallet"].fetch("SELECT amount FROM entries WHERE account_id = $1", sent.wallet_id)
    notifications = await rig.pools["notification"].fetch(
        "SELECT user_id::text, kind FROM notifications WHERE transfer_id = $1", transfer_id
    )
    seen = await sent.sender.get(f"/transfers/{transfer_id}")
    proof = await rig.prove()

    assert {transfer_id} == {answer_id(response.body) for response in sent.responses}
    assert [(transfer_id, status)] == [tuple(row) for row in transfers]
    assert status == seen.body["status"]
    assert ["posted" if completed else "voided"] == [row["outcome"] for row in outcomes]
    assert ([AMOUNT] if completed else []) == [row["amount"] for row in moved]
    assert 1 == events
    assert expected_notifications(sent, completed=completed) == sorted(tuple(row) for row in notifications)
    assert proof.ok, proof.checks
    assert all(count <= 2 for count in rig.mail_server.ids.values())


async def check_queues(rig: Rig, moment: Moment) -> None:
    """No message failed, except the unreadable one, which is recorded as a dead letter, possibly twice."""
    await rig.quiet()
    exceptions = await rig.exceptions()
    if moment.scene == POISONED:
        assert await rig.discard_poison() == 1

    assert {} == exceptions


async def check_repair(rig: Rig, sent: Sent, moment: Moment, found: str) -> None:
    """The transfer was repaired by what the row names."""
    [response] = sent.responses
    attempts = json.loads(
        await rig.pools["transaction"].fetchval("SELECT attempts FROM transfers WHERE id = $1", sent.transfer_id)
    )

    assert (moment.repair == CLIENT) == (len(sent.tries) > 1)
    assert (moment.repair == CLIENT and found != NOTHING) == ("Idempotent-Replayed" in response.headers)
    if moment.role == WORKER_ROLE and moment.repair == REDELIVERY and found != COMPLETED:
        assert attempts[-1]["redelivered"]
    if moment.status != COMPLETED:
        assert [] == attempts


def answer_id(body: dict[str, str]) -> UUID:
    return UUID(body["id"])


def expected_notifications(sent: Sent, *, completed: bool) -> list[tuple[str, str]]:
    if not completed:
        return [(sent.sender.user_id, "transfer_failed")]
    return sorted([(sent.sender.user_id, "transfer_completed"), (str(sent.owner_id), "transfer_received")])
