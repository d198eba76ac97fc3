"""The known balances of an intake from one request to the next, and when it reads them again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from uuid import UUID

import pytest

from services.contracts.identifiers import new_id
from services.contracts.refusal import Refusal
from services.transaction import commands, store, wallet_client
from services.transaction.commands import Accepted
from services.transaction.intake import Intake, Result
from services.transaction.wallet_client import Availability, WalletClient
from services.wallet import commands as wallet_commands
from tests.harness import ledgers
from tests.harness.services import MoneyPath, accept, request


@pytest.fixture(autouse=True)
def _patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """The wallet may be slow: without its response nothing is checked."""
    monkeypatch.setattr(wallet_client, "AFFORD_SECONDS", 30.0)


class Counting(WalletClient):
    """The wallet, and how often its balances were read."""

    def __init__(self, wallet: WalletClient) -> None:
        super().__init__(wallet._upstream)
        self.reads = 0

    async def availability(self, pending: Mapping[UUID, Sequence[UUID]]) -> dict[UUID, Availability]:
        self.reads += 1
        return await super().availability(pending)


def one_intake(path: MoneyPath) -> tuple[Intake, Counting]:
    """An intake that stays the same for several requests, and its wallet."""
    wallet = Counting(path.wallet("transaction"))
    return Intake(path.pool, wallet=wallet, auth=path.people, reversal_after=path.reversal_after), wallet


def label(result: Result) -> str:
    if isinstance(result, Refusal):
        return f"{result.code} {result.errors[0].field}"
    return "replayed" if result.replayed else "accepted"


async def test_accepted_transfer_reduces_the_known_balance(path: MoneyPath) -> None:
    """The same intake accepts 60 of 100, reads the balance for the next 60 and refuses it; it knows the remaining 40."""
    [(alice, _), (_, bob_wallet)] = await path.users([100, 0])
    intake, wallet = one_intake(path)

    results = [label((await accept(intake, request(alice, bob_wallet, amount)))[0]) for amount in (60, 60, 40, 1)]

    assert ["accepted", "insufficient_funds amount", "accepted", "insufficient_funds amount"] == results
    assert 3 == wallet.reads


async def test_batch_reduces_the_known_balance(path: MoneyPath) -> None:
    """Three in one batch are accepted by the known balance; the next request is not."""
    [(alice, _), (_, bob_wallet)] = await path.users([100, 0])
    intake, _ = one_intake(path)

    await accept(intake, *(request(alice, bob_wallet, 30) for _ in range(3)))
    [result] = await accept(intake, request(alice, bob_wallet, 11))

    assert "insufficient_funds amount" == label(result)


async def test_replay_does_not_reduce_the_known_balance(path: MoneyPath) -> None:
    """The same key twice in a batch and once more later counts once: the rest is known without a read."""
    [(alice, _), (_, bob_wallet)] = await path.users([100, 0])
    intake, wallet = one_intake(path)
    same = request(alice, bob_wallet, 60, key="same")

    twice = await accept(intake, same, same)
    again = await accept(intake, same)
    [rest] = await accept(intake, request(alice, bob_wallet, 40))

    assert ["accepted", "replayed", "replayed"] == sorted(map(label, [*twice, *again]))
    assert ("accepted", 1) == (label(rest), wallet.reads)


async def test_only_the_senders_known_balance_is_reduced(path: MoneyPath) -> None:
    """What Bob receives does not reduce the known balance of Bob."""
    [(alice, _), (bob, bob_wallet), (_, carol_wallet)] = await path.users([100, 50, 0])
    intake, wallet = one_intake(path)

    await accept(intake, request(bob, carol_wallet, 10))
    await accept(intake, request(alice, bob_wallet, 30))
    reads = wallet.reads
    [result] = await accept(intake, request(bob, carol_wallet, 40))

    assert ("accepted", reads) == (label(result), wallet.reads)


async def test_all_pending_transfers_count(path: MoneyPath) -> None:
    """Many small pending transfers leave nothing for another one, also for an intake that was just started."""
    [(alice, _), (_, bob_wallet)] = await path.users([55, 0])
    await accept(path.intake(), *(request(alice, bob_wallet, 10) for _ in range(5)))

    results = await accept(path.intake(), request(alice, bob_wallet, 6))

    assert ["insufficient_funds amount"] == list(map(label, results))
    assert ["accepted"] == list(map(label, await accept(path.intake(), request(alice, bob_wallet, 5))))


async def test_decided_transfers_count_once(path: MoneyPath) -> None:
    """A transfer that is posted, and still PENDING here, is in the balance: it is not subtracted again."""
    [(alice, alice_wallet), (bob, bob_wallet)] = await path.users([300, 0])
    [first] = await accept(path.intake(), request(alice, bob_wallet, 200))
    assert isinstance(first, Accepted)
    posted = ledgers.posting(alice_wallet, bob_wallet, 200, transfer_id=first.transfer.id)
    assert ["posted"] == await ledgers.post(path.wallet_pool, posted._replace(request_hash=first.transfer.request_hash))

    [result] = await accept(path.intake(), request(alice, bob_wallet, 100))
    pending = await commands.list_pending_amounts(path.pool, {alice_wallet: alice})
    await path.sweep()
    path.start_relay()
    path.start_worker()
    assert isinstance(result, Accepted)
    await path.finalized([first.transfer.id, result.transfer.id])
    later = await commands.list_pending_amounts(path.pool, {alice_wallet: alice, bob_wallet: bob})

    assert {alice_wallet: {first.transfer.id: 200, result.transfer.id: 100}} == pending
    assert {alice_wallet: {}, bob_wallet: {}} == later


@pytest.mark.parametrize("hints_max", [store.HINTS_MAX, 0])
async def test_refusal_names_the_frozen_wallet(
    path: MoneyPath, monkeypatch: pytest.MonkeyPatch, hints_max: int
) -> None:
    """A frozen wallet neither sends nor receives, and the refusal names the side; unfrozen it sends. However many are frozen."""
    monkeypatch.setattr(store, "HINTS_MAX", hints_max)
    await commands.set_freeze_hint(path.pool, new_id(), frozen=True)
    [(alice, alice_wallet), (bob, bob_wallet)] = await path.users([100, 100])
    intake, _ = one_intake(path)
    await accept(intake, request(alice, bob_wallet, 1), request(bob, alice_wallet, 1))

    async def set_frozen(*, frozen: bool) -> None:
        await wallet_commands.set_frozen(
            path.wallet_pool, alice_wallet, frozen=frozen, operator_id=new_id(), request_id="test"
        )
        await commands.set_freeze_hint(path.pool, alice_wallet, frozen=frozen)

    await set_frozen(frozen=True)
    deposit = request(new_id(), alice_wallet, 1, kind="deposit")
    refused = await accept(intake, request(alice, bob_wallet, 1), request(bob, alice_wallet, 1), deposit)
    hinted = await commands.list_freeze_hints(path.pool, [alice_wallet, bob_wallet])
    await set_frozen(frozen=False)
    opened = await accept(intake, request(alice, bob_wallet, 1), request(bob, alice_wallet, 1))

    assert ["wallet_frozen from_wallet_id", "wallet_frozen to", "wallet_frozen to"] == list(map(label, refused))
    assert {alice_wallet} == hinted
    assert ["accepted", "accepted"] == list(map(label, opened))
    assert set() == await commands.list_freeze_hints(path.pool, [alice_wallet, bob_wallet])
