"""The calls of operators."""

from __future__ import annotations

from datetime import datetime

from payflow import document as read
from payflow import limits, submission
from payflow.account import Account, SigningKeys
from payflow.audit import AuditLog
from payflow.dead_letter import DeadLetter, DeadLetterDetail, DeadLetterList, ReplayResult
from payflow.gateway import Gateway
from payflow.operations import Admission, BalanceSheet, Overview, Proof, ProofRun
from payflow.request import given, period, segment
from payflow.search import SearchResult
from payflow.transfer import Timeline, Transfer


class Operator:
    """What a user with the role `operator` may do. For others every call raises `Problem` with `operator_required`."""

    def __init__(self, gateway: Gateway) -> None:
        """Call `gateway` as its user."""
        self._gateway = gateway

    async def overview(self) -> Overview:
        """The state of the system: queues, outbox, pending transfers, dead letters, proof, jobs and services."""
        return await self._gateway.send("GET", "/ops/overview", Overview.read)

    async def timeline(self, transfer_id: str) -> Timeline:
        """The steps of any transfer, and what it waits for.

        Raises:
            Problem: `transfer_not_found`.
        """
        return await self._gateway.send("GET", f"/ops/transfers/{segment(transfer_id)}/timeline", Timeline.read)

    async def find_transfers(
        self,
        *,
        transfer_id: str | None = None,
        idempotency_key: str | None = None,
        user: str | None = None,
        request_id: str | None = None,
        pending_seconds: int | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        limit: int | None = None,
    ) -> SearchResult:
        """Transfers of any user, newest first.

        They are found by an id, a user (id or e-mail address), a key (perhaps with its user) or a request; without any of these:
        those that have been PENDING for more than `pending_seconds` (5), the oldest first.

        Raises:
            Problem: `user_not_found`.
        """
        known = {"id": transfer_id, "idempotency_key": idempotency_key, "user": user, "request_id": request_id}
        numbers = {"pending_seconds": pending_seconds, "limit": limit}
        params = given({**known, **period(since, until)}) | {name: str(n) for name, n in given(numbers).items()}
        return await self._gateway.send("GET", "/ops/transfers", SearchResult.read, params=params)

    # Ledger

    async def deposit(
        self,
        *,
        wallet_id: str,
        amount: int,
        currency: str,
        reference: str,
        idempotency_key: str | None = None,
        wait_seconds: float = limits.WAIT_SECONDS_DEFAULT,
    ) -> Transfer:
        """Move money into a wallet from the external account of its currency. Repeated and waited for like `PayFlow.send`.

        Raises:
            InvalidArgument: as `PayFlow.send`; nothing was sent.
            Problem: refused; nothing was accepted.
            OutcomeUnknown: it is not known whether the deposit was accepted; carries the key.
        """
        body = {"wallet_id": wallet_id, "amount": amount, "currency": currency, "reference": reference}
        return await submission.submit(
            self._gateway, "/ops/deposits", body, key=idempotency_key, wait_seconds=wait_seconds
        )

    async def proof(self, *, full: bool = False, new: bool = False, head: str | None = None) -> Proof:
        """The last run of checks over the ledger, or with `full` or `new` another one over every entry.

        With `full` it compares all sealed blocks with their rows, with `new` those since the last run that passed. `head` is a
        sealed block that was recorded earlier, NUMBER:HASH; another run must find it.
        """
        if not full and not new and head is None:
            return await self._gateway.send("GET", "/ops/ledger/proof", Proof.read)
        params = given({"new" if new and not full else "full": "1", "head": head})
        seconds = self._gateway.limits.proof_seconds
        return await self._gateway.send("GET", "/ops/ledger/proof", Proof.read, params=params, seconds=seconds)

    async def start_proof(self, *, full: bool = False, head: str | None = None) -> ProofRun:
        """Start a run of the proof without a time limit, or get the one in progress; poll it with `proof_run`.

        Raises:
            Problem: `proof_running`, a run with other options is in progress; `not_found`, the gateway is of an earlier release.
        """
        body = {"full": full, "head": head}
        return await self._gateway.send("POST", "/ops/ledger/proof-runs", ProofRun.read, body=body)

    async def proof_run(self, run_id: str) -> ProofRun:
        """A run of the proof: its progress, and its result when it has ended.

        Raises:
            Problem: `proof_run_not_found`.
        """
        return await self._gateway.send("GET", f"/ops/ledger/proof-runs/{segment(run_id)}", ProofRun.read)

    async def admit_outcome(self, transfer_id: str, reason: str) -> Admission:
        """Let the ledger seal an outcome that appeared after its time was sealed. Repeated, it returns the first admission.

        Raises:
            Problem: `outcome_not_found`; `outcome_not_late` if the outcome needs no admission.
        """
        path = f"/ops/ledger/admissions/{segment(transfer_id)}"
        return await self._gateway.send("PUT", path, Admission.read, body={"reason": reason})

    async def balance_sheet(self) -> BalanceSheet:
        """The sums of customer accounts and of external accounts, by currency."""
        return await self._gateway.send("GET", "/ops/ledger/balance-sheet", BalanceSheet.read)

    # Users and signing keys

    async def find_user(self, email: str) -> Account:
        """The user with this e-mail address.

        Raises:
            Problem: `user_not_found`.
        """
        return await self._gateway.send("GET", "/ops/users", Account.read, params={"email": email})

    async def set_role(self, user_id: str, role: str) -> Account:
        """Give a user the role `user` or `operator`. A user who loses the role `operator` is logged out everywhere.

        Raises:
            Problem: `user_not_found`; `cannot_modify_self` for the calling operator.
        """
        path = f"/ops/users/{segment(user_id)}/role"
        return await self._gateway.send("PUT", path, Account.read, body={"role": role})

    async def disable_user(self, user_id: str, reason: str) -> Account:
        """Disable a user: no login, all sessions end, and the user is no longer found by e-mail address.

        Payments to the user's wallet id still arrive; `PUT /api/v1/ops/wallets/{id}/freeze` stops them.

        Raises:
            Problem: `user_not_found`, `cannot_modify_self`.
        """
        path = f"/ops/users/{segment(user_id)}/disable"
        return await self._gateway.send("PUT", path, Account.read, body={"reason": reason})

    async def enable_user(self, user_id: str) -> Account:
        """Enable a disabled user.

        Raises:
            Problem: `user_not_found`.
        """
        return await self._gateway.send("DELETE", f"/ops/users/{segment(user_id)}/disable", Account.read)

    async def signing_keys(self) -> SigningKeys:
        """The keys that sign access tokens."""
        return await self._gateway.send("GET", "/ops/keys", SigningKeys.read)

    async def rotate_signing_keys(self) -> SigningKeys:
        """Create a key, which signs a little later. No user is logged out. While a key waits to sign, no other is created."""
        return await self._gateway.send("POST", "/ops/keys/rotate", SigningKeys.read)

    # Dead letters and audit log

    async def dead_letters(self, *, queue: str | None = None, state: str = "waiting") -> DeadLetterList:
        """All dead letters in this state (or `any`), newest first."""
        found = await self._gateway.whole_list("/ops/dead-letters", given({"queue": queue, "state": state}))
        return read.convert(DeadLetterList.read, found)

    async def dead_letter(self, dead_letter_id: str) -> DeadLetterDetail:
        """One dead letter with its body.

        Raises:
            Problem: `dead_letter_not_found`.
        """
        path = f"/ops/dead-letters/{segment(dead_letter_id)}"
        return await self._gateway.send("GET", path, DeadLetterDetail.read)

    async def replay_dead_letter(self, dead_letter_id: str, *, dry_run: bool = False) -> ReplayResult:
        """Publish a dead letter to its queue again, or with `dry_run` only show the effect. Repeating it does no harm.

        Raises:
            Problem: `dead_letter_not_found`, `dead_letter_not_replayable`, `dead_letter_resolved`.
        """
        params = {"dry_run": "true" if dry_run else "false"}
        path = f"/ops/dead-letters/{segment(dead_letter_id)}/replay"
        return await self._gateway.send("POST", path, ReplayResult.read, params=params)

    async def discard_dead_letter(self, dead_letter_id: str, reason: str) -> DeadLetter:
        """Discard a dead letter. Its record stays, and no transfer is changed.

        Raises:
            Problem: `dead_letter_not_found`, `dead_letter_resolved`.
        """
        path = f"/ops/dead-letters/{segment(dead_letter_id)}/discard"
        return await self._gateway.send("POST", path, DeadLetter.read, body={"reason": reason})

    async def audit(
        self,
        *,
        since: datetime | None = None,
        until: datetime | None = None,
        actor_id: str | None = None,
        user_id: str | None = None,
        action: str | None = None,
        limit: int | None = None,
    ) -> AuditLog:
        """The audit log from `since` on (inclusive), before `until` (exclusive), newest first, at most `limit` entries."""
        params = given({**period(since, until), "actor_id": actor_id, "user_id": user_id, "action": action})
        found = await self._gateway.whole_list("/ops/audit", params, count_max=limit)
        return read.convert(AuditLog.read, found)
