"""What operators read and do."""

from __future__ import annotations

from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import AwareDatetime, Field, StringConstraints

from services.gateway.schemas.auth import User
from services.gateway.schemas.types import Email, Id, PeriodQuery, Reply, Request, Total

REASON_LENGTH_MAX = 200
BlockHead = Annotated[str, StringConstraints(pattern=r"^[1-9][0-9]{0,17}:[0-9a-f]{64}$")]


class RoleChange(Request):
    """Another role."""

    role: Literal["user", "operator"]


class DisableUser(Request):
    """Why; for operators only."""

    reason: Annotated[str, StringConstraints(min_length=1, max_length=REASON_LENGTH_MAX)]


class AuditQuery(PeriodQuery):
    """Which actions."""

    actor_id: Id | None = Field(None, description="Who acted.")
    user_id: Id | None = Field(None, description="Whom it concerned.")
    action: Annotated[str, StringConstraints(pattern=r"^[a-z0-9_.]{1,100}$")] | None = Field(
        None, description="What was done, for instance `login_failed`."
    )


class UserQuery(Request):
    """Whom to look for."""

    email: Email


class ProofQuery(Request):
    """Which proof."""

    full: Literal["0", "1"] = Field("0", description="`1` starts a new round and waits for it.")
    head: BlockHead | None = Field(
        None,
        description="`NUMBER:HASH` of a block that was noted earlier: starts a new round, which must find that block.",
    )


class Disabled(Reply):
    """Since when nobody gets in as this user, and why."""

    at: AwareDatetime
    reason: str


class Account(User):
    """A user as operators see them; `disabled` is null for who may come in."""

    created_at: AwareDatetime
    disabled: Disabled | None


class Queue(Reply):
    """Work that waits, told in transfers and in the broker's messages."""

    name: str
    transfers: int
    messages: int | None
    zone: Literal["normal", "busy", "delayed"]
    oldest_seconds: float
    drain_per_s: float
    seconds_of_work: float | None


class Outbox(Reply):
    """What no broker has confirmed yet."""

    unpublished: int
    lag_seconds: float


class Job(Reply):
    """Something done periodically."""

    name: str
    last_success: AwareDatetime | None


class Service(Reply):
    """Whether a service answered within 1 s."""

    name: Literal["auth", "wallet", "transaction", "notification"]
    ready: bool


class LastProof(Reply):
    """How the last round of the ledger's proof ended, and when."""

    ok: bool
    at: AwareDatetime


class Overview(Reply):
    """How the system is. What cannot be told, because the service that knows is away, is null or empty."""

    queues: list[Queue]
    outbox: Outbox | None
    pending: int | None
    stale_pending: int | None
    dead_letters: int | None
    proof: LastProof | None
    jobs: list[Job]
    services: list[Service]


class Subject(Reply):
    """What somebody acted on."""

    kind: str = Field(description="For instance `user`, `wallet`, `transfer` or `dead_letter`.")
    id: str


class AuditEntry(Reply):
    """Something that somebody did. `actor_id` is null where nobody is known, and at the command line of a server."""

    id: str = Field(description="Unique within its service.")
    at: AwareDatetime
    service: Literal["auth", "wallet", "transaction", "notification"]
    action: str
    actor_id: UUID | None
    user_id: UUID | None = Field(description="Whom it concerns, if that is one user.")
    subject: Subject | None
    detail: dict[str, Any]
    request_id: str


class AuditPage(Reply):
    """Acts, newest first."""

    items: list[AuditEntry]
    next_cursor: str | None
    unavailable: list[str] = Field(
        description="Services that did not answer within 1 s: their actions come with a later page."
    )


class CurrencySum(Reply):
    """Both sides of the books in one currency; `sum` must be 0."""

    currency: str
    customers: Total
    external: Total
    sum: Total


class BalanceSheet(Reply):
    """Both sides of the books."""

    as_of: AwareDatetime
    currencies: list[CurrencySum]


class Check(Reply):
    """One thing that the proof looks at."""

    name: str
    ok: bool
    detail: str | None


class Head(Reply):
    """The newest sealed block. Who notes it down can ask later whether it is still there."""

    number: int
    hash: str


class Proof(Reply):
    """A round of the ledger's proof."""

    ok: bool
    at: AwareDatetime
    checks: list[Check]
    head: Head | None
