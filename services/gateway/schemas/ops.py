"""Operator endpoints: overview, accounts, the audit log and the ledger."""

from __future__ import annotations

from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import AwareDatetime, Field, StringConstraints

from services.contracts import limits
from services.gateway.schemas.auth import User
from services.gateway.schemas.types import Email, Id, PeriodQuery, Request, Response, Total

BlockHead = Annotated[str, StringConstraints(pattern=r"^[1-9][0-9]{0,17}:[0-9a-f]{64}$")]


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

    full: Literal["0", "1"] = Field("0", description="`1` runs a new proof and waits for it.")
    head: BlockHead | None = Field(
        None,
        description="`NUMBER:HASH` of a block recorded earlier: runs a new proof, which must find that block.",
    )


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
