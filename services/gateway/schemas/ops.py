"""Operator endpoints: overview, accounts, the audit log and the ledger."""

from __future__ import annotations

from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import AfterValidator, AwareDatetime, BeforeValidator, Field, StringConstraints, model_validator

from services.chassis.period import PeriodParameters
from services.contracts import limits
from services.gateway.schemas.auth import User
from services.gateway.schemas.transfers import IdempotencyKey, Transfer, WaitingFor
from services.gateway.schemas.types import Email, Id, PageQuery, PeriodQuery, Request, Response, Total, canonical_id

LATE_SECONDS = 5
"""99 % of transfers are final within that."""

_PENDING_SECONDS_MAX = 10**8

BlockHead = Annotated[str, StringConstraints(pattern=r"^[1-9][0-9]{0,17}:[0-9a-f]{64}$")]


RequestId = Annotated[str, StringConstraints(pattern=rf"^[A-Za-z0-9._:-]{{1,{limits.REQUEST_ID_LENGTH_MAX}}}$")]


def _user_name(text: str) -> str:
    return text if "@" in text else canonical_id(text)


UserName = Annotated[str, StringConstraints(max_length=limits.EMAIL_LENGTH_MAX), AfterValidator(_user_name)]


def _whole_seconds(text: object) -> object:
    if not isinstance(text, str) or not (text.isascii() and text.isdigit()):
        raise ValueError("must be a whole number of seconds")
    return int(text[:20])


Seconds = Annotated[int, Field(ge=0, le=_PENDING_SECONDS_MAX), BeforeValidator(_whole_seconds)]


class RoleChange(Request):
    """Role change."""

    role: Literal["user", "operator"]


class DisableUser(Request):
    """Disable request; the reason is visible to operators only."""

    reason: Annotated[str, StringConstraints(min_length=1, max_length=limits.DISABLE_REASON_LENGTH_MAX)]


class AuditQuery(PeriodQuery):
    """Audit log query."""

    actor_id: Id | None = Field(None, description="The user who acted.")
    user_id: Id | None = Field(None, description="The user concerned.")
    action: Annotated[str, StringConstraints(pattern=r"^[a-z0-9_.]{1,100}$")] | None = Field(
        None, description="The action, for example `login_failed`."
    )


class UserQuery(Request):
    """User query."""

    email: Email


class ProofQuery(Request):
    """Proof query."""

    full: Literal["0", "1"] = Field("0", description="`1` runs a new proof of everything and waits for it.")
    new: Literal["0", "1"] = Field(
        "0", description="`1` runs a new proof that continues from the last verified block, and waits for it."
    )
    head: BlockHead | None = Field(
        None,
        description="`NUMBER:HASH` of a block recorded earlier: runs a new proof, which must find that block.",
    )


class SearchQuery(PageQuery, PeriodParameters):
    """What is known about a transfer. Without any of the first four: the transfers that take too long."""

    id: Id | None = None
    idempotency_key: IdempotencyKey | None = Field(
        None, description="The key of the request. With `user` at any age; alone among recent transfers."
    )
    user: UserName | None = Field(None, description="The id or e-mail address of the sender or the recipient.")
    request_id: RequestId | None = Field(None, description="The `X-Request-Id` of the request that made it.")
    pending_seconds: Seconds = Field(
        LATE_SECONDS, description="Only for transfers that take too long: PENDING for more than so many seconds."
    )

    @model_validator(mode="after")
    def _one(self) -> SearchQuery:
        known = [self.id, self.request_id, self.user or self.idempotency_key]
        if len([one for one in known if one is not None]) > 1:
            raise ValueError(
                "name one of `id`, `idempotency_key`, `user` and `request_id`; only a key may have a `user`"
            )
        return self

    def known(self) -> dict[str, str]:
        """The parameters for the transaction service, apart from the user."""
        given = self.parameters()
        given.pop("user", None)
        return given


class Disabled(Response):
    """When and why a user was disabled."""

    at: AwareDatetime
    reason: str


class Account(User):
    """A user as operators see it; `disabled` is null for an enabled user."""

    created_at: AwareDatetime
    disabled: Disabled | None


class Queue(Response):
    """Waiting work, in transfers and in messages of the broker."""

    name: str
    transfers: int
    messages: int | None
    zone: Literal["normal", "busy", "delayed"]
    oldest_seconds: float
    drain_per_s: float
    seconds_of_work: float | None


class Outbox(Response):
    """Messages that the broker has not confirmed yet."""

    unpublished: int
    lag_seconds: float


class Job(Response):
    """A periodic job."""

    name: str
    last_success: AwareDatetime | None


class Service(Response):
    """Whether a service responded within 1 s."""

    name: Literal["auth", "wallet", "transaction", "notification"]
    ready: bool


class LastProof(Response):
    """The result and time of the last proof of the ledger."""

    ok: bool
    at: AwareDatetime


class Alert(Response):
    """A firing alert. `runbook` is the address of its page."""

    name: str
    severity: str | None
    since: AwareDatetime | None
    runbook: str | None


class Overview(Response):
    """The state of the system. What is unknown, because its service is unavailable, is null or empty."""

    queues: list[Queue]
    outbox: Outbox | None
    pending: int | None
    stale_pending: int | None
    dead_letters: int | None
    proof: LastProof | None
    jobs: list[Job]
    services: list[Service]
    alerts: list[Alert] | None = Field(
        description="Firing alerts; null without `PAYFLOW_ALERTMANAGER_URL`, or if Alertmanager does not respond within 0.5 s."
    )


class FoundTransfer(Transfer):
    """A transfer as operators find it. `waiting_for` and `summary` are those of its timeline, null once it is final.

    `conflicted`: the ledger knows its id with another request, so that only an operator can resolve it.
    """

    user_id: UUID
    recipient_id: UUID | None
    request_id: str
    waiting_for: WaitingFor
    conflicted: bool
    summary: str | None


class FoundPage(Response):
    """Found transfers. `has_more`: there are more than `limit`; only the list of a user has a cursor for them."""

    items: list[FoundTransfer]
    next_cursor: str | None
    has_more: bool
    searched_from: AwareDatetime | None = Field(
        description="Transfers accepted before this time were not searched: repeat with `to` set to it. Null: all were."
    )


class Subject(Response):
    """The object of an action."""

    kind: str = Field(description="For example `user`, `wallet`, `transfer` or `dead_letter`.")
    id: str


class AuditEntry(Response):
    """An entry of the audit log. `actor_id` is null if the actor is unknown, or used the command line of a server."""

    id: str = Field(description="Unique within its service.")
    at: AwareDatetime
    service: Literal["auth", "wallet", "transaction", "notification"]
    action: str
    actor_id: UUID | None
    user_id: UUID | None = Field(description="The user concerned, if there is exactly one.")
    subject: Subject | None
    detail: dict[str, Any]
    request_id: str


class AuditPage(Response):
    """A page of the audit log, newest first."""

    items: list[AuditEntry]
    next_cursor: str | None
    unavailable: list[str] = Field(
        description="Services that did not respond within 1 s; their entries come with a later page."
    )


class CurrencySum(Response):
    """Both sides of the books in one currency; `sum` must be 0."""

    currency: str
    customers: Total
    external: Total
    sum: Total
    test: bool = Field(description="No money: the row of the currency for tests, which the canary uses.")


class BalanceSheet(Response):
    """Both sides of the books."""

    as_of: AwareDatetime
    currencies: list[CurrencySum]


class Check(Response):
    """A check of the proof."""

    name: str
    ok: bool
    detail: str | None


class SealedBlock(Response):
    """The newest sealed block. Record it to verify later that it is still there."""

    number: int
    hash: str


class Proof(Response):
    """A proof of the ledger."""

    ok: bool
    at: AwareDatetime
    checks: list[Check]
    head: SealedBlock | None


class NewProofRun(Request):
    """Request of a run of the proof."""

    full: bool = Field(
        False, strict=True, description="Compare every sealed block again, not only those since the last verified one."
    )
    head: BlockHead | None = Field(None, description="`NUMBER:HASH` of a block recorded earlier, which must be found.")


class ProofRun(Response):
    """A requested run of the proof, its progress, and its result once it has ended.

    `running`, then `passed` or `failed`; or `abandoned`, without a result, if its process ended or the database was unavailable.
    """

    id: UUID
    state: Literal["running", "passed", "failed", "abandoned"]
    full: bool
    started_at: AwareDatetime
    updated_at: AwareDatetime
    ended_at: AwareDatetime | None
    check: str | None = Field(description="The check in progress.")
    checks_done: int
    checks_total: int
    blocks_done: int = Field(description="Sealed blocks that were compared with their rows.")
    blocks_total: int | None = Field(description="Blocks to compare; null until they are counted.")
    proof: Proof | None


class NewAdmission(Request):
    """Admission request; the reason is visible to operators only."""

    reason: Annotated[str, StringConstraints(min_length=1, max_length=limits.ADMISSION_REASON_LENGTH_MAX)] = Field(
        description="Why the outcome is genuine although it appeared after its time was sealed."
    )


class Admission(Response):
    """An admitted outcome."""

    transfer_id: UUID
    reason: str
    operator_id: UUID
    at: AwareDatetime
    block: int | None = Field(description="The number of the block that seals it; null until it is sealed.")
