"""The commands of the wallet service: one database transaction per function, and nowhere else."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

import structlog

from services.chassis import database, finality, halving, replication
from services.chassis.body import InvalidParameter
from services.chassis.database import Connection, DatabaseUnavailable, LockTimeout, Pool
from services.contracts import money
from services.contracts.identifiers import new_id
from services.contracts.money import DEFAULT_CURRENCY
from services.contracts.refusals.wallet import OutcomeNotFound, WalletNotFound
from services.wallet import ledger, metrics, seal, store, store_admission
from services.wallet.ledger import Decision, Posting, Result
from services.wallet.seal import Block, Head, HeadLost, Members, State
from services.wallet.store import Proof, Wallet

SEAL_MAX = 10_000
"""The most outcomes, and the most accounts, of one block: half a megabyte each. The rest goes into the next block at once."""

log = structlog.get_logger()


class Sealed(NamedTuple):
    """The size of a new block. `head` is the newest block now; `more`: the block was full and rows are left."""

    head: Head | None
    outcomes: int
    accounts: int
    more: bool


class Void(NamedTuple):
    """A request to void a transfer, or to return the outcome that it has."""

    transfer_id: UUID
    reason: str
    request_hash: bytes


async def post_transfers(pool: Pool, postings: Sequence[Posting], *, deadline: float) -> list[Result]:
    """Decide and post a batch; one result per item, in order.

    A batch that fails as a whole is halved until the bad item is alone. Items not done by `deadline` (`time.monotonic()`
    seconds) get the result `retry`.

    All results are replicated, also those recorded earlier.

    Raises:
        DatabaseUnavailable: parts may be written (CommitUnknown: in the last commit); the same batch can be sent again.
    """

    async def post(part: Sequence[Posting]) -> list[Result]:
        # With each concurrent void, one more outcome can be read: at most one repetition per transfer.
        for _ in range(len(part) + 1):
            if time.monotonic() >= deadline:
                return [_retry(posting) for posting in part]
            try:
                return await _post(pool, part)
            except store.OutcomeExists:
                # A later item of this batch may depend on money from the voided transfer: decide the whole batch again.
                continue
            except (DatabaseUnavailable, LockTimeout):
                raise
            except Exception:
                if len(part) > 1:
                    log.exception("batch_failed", items=len(part))
                raise
        raise AssertionError("a recorded outcome can be read")

    return await halving.run(postings, post, on_failure=_fail, raises=(DatabaseUnavailable,))


def _fail(posting: Posting, error: Exception) -> Result:
    log.warning("posting_failed", transfer_id=str(posting.transfer_id), error=repr(error))
    return _retry(posting)


def _retry(posting: Posting) -> Result:
    return Result(posting.transfer_id, ledger.RETRY, None, None)


async def _post(pool: Pool, postings: Sequence[Posting]) -> list[Result]:
    account_ids = sorted({id_ for posting in postings for id_ in (posting.source_id, posting.destination_id)})
    transfer_ids = list({posting.transfer_id for posting in postings})
    async with database.transaction(pool) as connection:
        accounts, last_entry_at = await store.lock_accounts(connection, account_ids)
        recorded, now = await store.read_outcomes(connection, transfer_ids)
        # The clock of a server can be set back; the times of the entries of an account never decrease.
        decision = ledger.decide(accounts, postings, recorded, max(now, last_entry_at or now))
        if decision.outcomes:
            await store.write_decision(connection, decision)
        else:
            await replication.await_replication(connection)
    _count(decision)
    return decision.results


async def void_transfers(pool: Pool, voids: Sequence[Void]) -> list[Result]:
    """Void each transfer that has no outcome; return the outcome of each, in order.

    All results are replicated, also those recorded earlier.

    Raises:
        CommitUnknown: all or none may be voided; send them again.
        DatabaseUnavailable, LockTimeout: nothing was written; send them again.
    """
    ordered = sorted({void.transfer_id: void for void in voids}.values())
    ids = [void.transfer_id for void in ordered]
    async with database.transaction(pool) as connection:
        inserted = await store.insert_voids(
            connection, ids, [void.reason for void in ordered], [void.request_hash for void in ordered]
        )
        # A second statement: the first does not see a row that a concurrent transaction inserted while it waited.
        recorded, _ = await store.read_outcomes(connection, ids)
        if not inserted:
            await replication.await_replication(connection)
    return [ledger.result_of(recorded[void.transfer_id], void.request_hash) for void in voids]


async def open_wallet(pool: Pool, *, owner_id: UUID, currency: str) -> tuple[Wallet, bool]:
    """Open the wallet of an owner in a currency, or find it; and whether it is new.

    Raises:
        InvalidParameter: the currency is withdrawn, and the owner has no wallet in it.
    """
    may_open = currency not in money.WITHDRAWN
    async with database.transaction(pool) as connection:
        opened = may_open and await store.insert_account(connection, new_id(), owner_id, currency)
        if not opened:
            await replication.await_replication(connection)
        wallet = await store.find_wallet_of(connection, owner_id, currency)
    if wallet is None:
        raise InvalidParameter("currency", "is withdrawn; no new wallet can be opened in it")
    return wallet, opened


async def list_wallets(pool: Pool, read_pool: Pool, owner_id: UUID) -> list[Wallet]:
    """All wallets of an owner, read from `read_pool`. If the default-currency wallet is missing, it is opened through `pool`.

    Balances are plain reads. The existence of the wallets is replicated: their ids are given to payers.
    """
    wallets = await _read_wallets(read_pool, owner_id)
    if not any(wallet.currency == DEFAULT_CURRENCY for wallet in wallets):
        await open_wallet(pool, owner_id=owner_id, currency=DEFAULT_CURRENCY)
        wallets = await _read_wallets(read_pool, owner_id)
    return wallets


async def _read_wallets(pool: Pool, owner_id: UUID) -> list[Wallet]:
    async with database.transaction(pool) as connection:
        wallets = await store.list_wallets_of(connection, owner_id)
        if replication.list_unconfirmed([wallet.id for wallet in wallets]):
            await replication.await_replication(connection)
    replication.confirm([wallet.id for wallet in wallets])
    return wallets


async def find_accounts(
    pool: Pool, *, ids: Sequence[UUID], owners: Sequence[tuple[UUID, str]], external: Sequence[str]
) -> list[tuple[UUID, UUID | None, str]]:
    """Accounts as (id, owner, currency). Default-currency wallets and external accounts are opened on demand.

    Their existence is replicated: the transaction service stores them permanently.
    """
    async with database.transaction(pool) as connection:
        found = await store.find_accounts(connection, ids, owners, external)
        missing = _missing(found, owners, external)
        if missing:
            await store.insert_accounts(connection, missing)
            found = await store.find_accounts(connection, ids, owners, external)
        if replication.list_unconfirmed([id_ for id_, _, _ in found]):
            await replication.await_replication(connection)
    replication.confirm([id_ for id_, _, _ in found])
    return found


async def get_wallet(pool: Pool, wallet_id: UUID) -> Wallet:
    """One wallet.

    Raises:
        WalletNotFound
    """
    async with database.connection(pool) as connection:
        wallet = await store.find_wallet(connection, wallet_id)
    if wallet is None:
        raise WalletNotFound
    return wallet


async def find_wallets(pool: Pool, wanted: Sequence[tuple[UUID, UUID]]) -> list[tuple[Wallet, datetime] | None]:
    """For each pair of a wallet and a user: the wallet now and the time; None if it is not a wallet of this user."""
    async with database.connection(pool) as connection:
        found = await store.find_wallets(connection, [wallet_id for wallet_id, _ in wanted])
    return [found.get(pair) for pair in wanted]


async def get_balance(pool: Pool, wallet_id: UUID, at: datetime | None) -> tuple[int, int, datetime]:
    """Posted and held minor units and their moment: the current figures, or the final ones at a moment up to now.

    Raises:
        WalletNotFound
        MomentNotFinal: an open transaction may still change the balance at that moment.
    """
    moment = await finality.wait_for_moment(pool, at) if at else None
    async with database.connection(pool) as connection:
        if moment is None:
            balance = await store.read_balance(connection, wallet_id)
        else:
            balance = await store.read_balance_at(connection, wallet_id, moment)
    if balance is None:
        raise WalletNotFound
    return balance


async def read_availability(
    pool: Pool, *, wallet_ids: Sequence[UUID], transfer_ids: Sequence[UUID]
) -> tuple[dict[UUID, tuple[int, bool]], set[UUID]]:
    """The available balance of each wallet, whether it is frozen, and which transfers have an outcome, at one instant."""
    async with database.snapshot(pool) as connection:
        available = await store.read_available(connection, wallet_ids)
        decided = await store.list_decided(connection, transfer_ids)
    return available, decided


async def get_outcome(pool: Pool, transfer_id: UUID) -> database.Record:
    """The outcome of a transfer.

    Raises:
        OutcomeNotFound
    """
    async with database.connection(pool) as connection:
        row = await store.find_outcome(connection, transfer_id)
    if row is None:
        raise OutcomeNotFound
    return row


async def set_frozen(pool: Pool, wallet_id: UUID, *, frozen: bool, operator_id: UUID, request_id: str) -> Wallet:
    """Freeze or unfreeze a wallet, and audit it. A frozen wallet accepts neither debits nor credits.

    Raises:
        WalletNotFound
    """
    action = "wallet_frozen" if frozen else "wallet_unfrozen"
    async with database.transaction(pool) as connection:
        wallet = await store.set_frozen(connection, wallet_id, frozen=frozen)
        if wallet is None:
            raise WalletNotFound
        await store.insert_audit(
            connection, actor_id=operator_id, action=action, account_id=wallet_id, request_id=request_id
        )
    return wallet


async def read_balance_sheet(pool: Pool, proof_pool: Pool) -> tuple[datetime, list[database.Record]]:
    """A final moment (now), and per currency the balances of customers and of external accounts then, and their sum.

    The sum is zero. The horizon is read with the role that posts (`pool`): other roles do not see its transactions.

    Raises:
        MomentNotFinal: an open transaction may still change the figures.
    """
    moment = await finality.wait_for_moment(pool, None)
    async with database.connection(proof_pool) as connection:
        return moment, await store.read_balance_sheet(connection, moment)


async def seal_rows(pool: Pool, *, recorded_head: Head | None, thorough: bool, with_accounts: bool) -> Sealed:
    """Seal unsealed rows in a new block, if there are any. It reads only rows that may be new, and locks nothing.

    Outcomes that committed late are sealed only by a `thorough` pass. Accounts are sealed only `with_accounts`: finding new ones
    requires reading all.

    Raises:
        HeadLost: the block `recorded_head` is missing; nothing was sealed.
        DatabaseUnavailable, LockTimeout: a block may be sealed or not; repeat the pass.
    """
    async with database.transaction(pool) as connection:
        await store.prefer_indexes(connection)
        # A separate statement before the rows: transactions that ended before it are visible to all later statements.
        state = await store.read_seal_state(connection)
        if recorded_head is not None and not await store.has_block(connection, recorded_head):
            raise HeadLost(recorded_head)
        outcomes, latest_at = await store.list_unsealed(connection, seal.scan_from(state, thorough=thorough), SEAL_MAX)
        unread_from = latest_at if len(outcomes) == SEAL_MAX else None
        admitted, admitted_at = await store_admission.list_unsealed_admissions(connection, SEAL_MAX)
        accounts = await store.list_unsealed_accounts(connection, SEAL_MAX) if with_accounts else []
        if not outcomes and not accounts and not admitted:
            # A head that is new to the caller will be recorded elsewhere: a failover must not lose it.
            if state.head != recorded_head:
                await replication.await_replication(connection)
            return Sealed(state.head, 0, 0, more=False)
        frontier = seal.close(state, thorough=thorough, unread_from=unread_from)
        outcomes = list(dict.fromkeys([*outcomes, *admitted]))
        latest_at = max(filter(None, (latest_at, admitted_at)), default=None)
        head = await _insert_block(connection, state, outcomes, accounts, latest_at=latest_at, frontier=frontier)
        if head is not None and admitted:
            await store_admission.set_admission_block(connection, admitted, head.number)
    full = unread_from is not None or len(accounts) == SEAL_MAX
    # Without a head another sealer has sealed these rows meanwhile: run again.
    return Sealed(head, len(outcomes), len(accounts), more=full or head is None)


async def _insert_block(
    connection: Connection,
    state: State,
    outcomes: Sequence[UUID],
    accounts: Sequence[UUID],
    *,
    latest_at: datetime | None,
    frontier: datetime | None,
) -> Head | None:
    block = Block(
        number=state.head.number + 1 if state.head else 1,
        version=seal.VERSION,
        previous=state.head.hash if state.head else seal.BEFORE_FIRST,
        sealed_at=str(seal.microseconds(state.now)),
        xid=await store.number_transaction(connection),
        frontier=seal.microseconds(frontier),
        latest_at=seal.microseconds(latest_at),
        outcomes=Members(outcomes, await store.digest_outcomes(connection, outcomes)),
        accounts=Members(accounts, await store.digest_accounts(connection, accounts)),
    )
    head = Head(block.number, seal.block_hash(block))
    won = await store.insert_block(
        connection, block, head.hash, sealed_at=state.now, frontier=frontier, latest_at=latest_at
    )
    return head if won else None


async def record_proof(pool: Pool, proof: Proof) -> None:
    """Store this run of the proof as the last one, unless it passed and a later one is stored, or one has failed meanwhile."""
    async with database.transaction(pool) as connection:
        await store.upsert_last_proof(connection, proof)


async def find_last_proof(pool: Pool) -> Proof | None:
    """Find the last run of the proof; replicated, because its head is recorded elsewhere."""
    async with database.transaction(pool) as connection:
        proof = await store.find_last_proof(connection)
        if proof is not None:
            await replication.await_replication(connection)
    return proof


def _missing(
    found: Sequence[tuple[UUID, UUID | None, str]], owners: Sequence[tuple[UUID, str]], external: Sequence[str]
) -> list[tuple[UUID, UUID | None, str]]:
    there = {(owner, currency) for _, owner, currency in found}
    wanted: set[tuple[UUID | None, str]] = {(owner, code) for owner, code in owners if code == DEFAULT_CURRENCY}
    wanted |= {(None, code) for code in external}
    return [(new_id(), owner, currency) for owner, currency in wanted - there]


def _count(decision: Decision) -> None:
    metrics.BATCH.observe(len(decision.results))
    counts = Counter(result.outcome for result in decision.results)
    for outcome, count in counts.items():
        metrics.DECIDED.labels(outcome).inc(count)
    if conflicts := counts[ledger.CONFLICT]:
        metrics.CONFLICTS.inc(conflicts)
        log.error("outcome_conflicted", items=conflicts)
