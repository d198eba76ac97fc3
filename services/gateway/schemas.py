"""JSON in and out of the door. The same models check requests and write the OpenAPI document.

Requests refuse unknown fields. Answers list every field; they come from the services behind and are passed through
without being validated again.
"""

from __future__ import annotations

import unicodedata
from datetime import date
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
    TypeAdapter,
    WithJsonSchema,
    model_validator,
)

from services.chassis.period import Moment, PeriodParameters
from services.contracts.identifiers import parse_id
from services.contracts.money import AMOUNT_MAX, BALANCE_MAX, CURRENCIES

DESCRIPTION_LENGTH_MAX = 140
METADATA_KEYS_MAX = 50
METADATA_KEY_LENGTH_MAX = 40
METADATA_TEXT_LENGTH_MAX = 500
NAME_LENGTH_MAX = 100
EMAIL_LENGTH_MAX = 254
PASSWORD_LENGTH_MIN = 8
PASSWORD_LENGTH_MAX = 200
TOTP_LENGTH_MAX = 40
REASON_LENGTH_MAX = 200
TOKEN_LENGTH_MAX = 4096
LETTER_TOKEN_LENGTH_MAX = 200
CURSOR_LENGTH_MAX = 512
PAGE_LIMIT = 50
PAGE_LIMIT_MAX = 200
OUTCOMES_MAX = 64
"""Of so many transfers of one dead letter the ledger is asked: as many as a message carries."""

SAFE_INTEGER_MAX = 2**53 - 1
"""Beyond it, a client that reads numbers as doubles reads another number."""

_KEY = r"^[\x21-\x7e]{1,255}$"


def _known_currency(code: str) -> str:
    if code not in CURRENCIES:
        raise ValueError("is not the code of a currency")
    return code


def _canonical_id(text: str) -> str:
    identifier = parse_id(text)
    if identifier is None:
        raise ValueError("is not an id")
    return str(identifier)


def _whole_number(text: Any) -> Any:
    if not isinstance(text, str) or not (text.isascii() and text.isdigit()) or len(text) > len(str(PAGE_LIMIT_MAX)):
        raise ValueError(f"must be a whole number from 1 to {PAGE_LIMIT_MAX}")
    return int(text)


def _composed(text: Any) -> Any:
    # However the keyboard puts its accents: a password is as long as it looks.
    return unicodedata.normalize("NFC", text) if isinstance(text, str) else text


def _distinct(values: list[Any]) -> list[Any]:
    if len(set(values)) != len(values):
        raise ValueError("must not name one twice")
    return values


def _metadata_value(value: Any) -> Any:
    if isinstance(value, str) and len(value) <= METADATA_TEXT_LENGTH_MAX:
        return value
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int) and abs(value) <= SAFE_INTEGER_MAX:
        return value
    raise ValueError(f"must be a text of at most {METADATA_TEXT_LENGTH_MAX} characters, a whole number, true or false")


def _metadata_keys(metadata: dict[str, Any]) -> dict[str, Any]:
    if any(not 0 < len(key) <= METADATA_KEY_LENGTH_MAX for key in metadata):
        raise ValueError(f"must have keys of 1 to {METADATA_KEY_LENGTH_MAX} characters")
    return metadata


Amount = Annotated[int, Field(strict=True, gt=0, le=AMOUNT_MAX, description="In the currency's minor unit.")]
CurrencyCode = Annotated[str, StringConstraints(pattern=r"^[A-Z]{3}$"), AfterValidator(_known_currency)]
Id = Annotated[str, AfterValidator(_canonical_id), WithJsonSchema({"type": "string", "format": "uuid"})]
Email = Annotated[
    str,
    StringConstraints(min_length=3, max_length=EMAIL_LENGTH_MAX, pattern=r"^[^@\s]+@[^@\s]+$"),
    Field(json_schema_extra={"format": "email"}),
]
LetterTokenText = Annotated[str, StringConstraints(min_length=1, max_length=LETTER_TOKEN_LENGTH_MAX)]
Limit = Annotated[int, Field(ge=1, le=PAGE_LIMIT_MAX), BeforeValidator(_whole_number)]
Password = Annotated[
    str,
    StringConstraints(min_length=PASSWORD_LENGTH_MIN, max_length=PASSWORD_LENGTH_MAX),
    BeforeValidator(_composed),
]
KnownPassword = Annotated[
    str, StringConstraints(min_length=1, max_length=PASSWORD_LENGTH_MAX), BeforeValidator(_composed)
]
TotpCode = Annotated[
    str,
    StringConstraints(min_length=1, max_length=TOTP_LENGTH_MAX),
    Field(description="Six digits of the authenticator, or a recovery code."),
]
BlockHead = Annotated[str, StringConstraints(pattern=r"^[1-9][0-9]{0,17}:[0-9a-f]{64}$")]
Description = Annotated[str, StringConstraints(max_length=DESCRIPTION_LENGTH_MAX)]
MetadataValue = Annotated[
    Any,
    AfterValidator(_metadata_value),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "string", "maxLength": METADATA_TEXT_LENGTH_MAX},
                {"type": "integer", "minimum": -SAFE_INTEGER_MAX, "maximum": SAFE_INTEGER_MAX},
                {"type": "boolean"},
                {"type": "null"},
            ]
        }
    ),
]
Metadata = Annotated[dict[str, MetadataValue], Field(max_length=METADATA_KEYS_MAX), AfterValidator(_metadata_keys)]
SignedAmount = Annotated[int, Field(ge=-BALANCE_MAX, le=BALANCE_MAX, description="In the currency's minor unit.")]
Total = Annotated[
    int,
    Field(
        description="In the currency's minor unit. May exceed 2^53 - 1: read it as an integer of 64 bits.",
        json_schema_extra={"format": "int64"},
    ),
]
SessionKind = Annotated[
    Literal["body", "cookie"],
    Field(
        description="Where the refresh token is given: in the answer, or to a browser in a cookie that no script reads."
    ),
]
SESSION_IN_BODY: Literal["body"] = "body"
SESSION_IN_COOKIE = "cookie"
ScopeName = Literal["read", "transfer", "operate"]
Scopes = Annotated[
    list[ScopeName],
    Field(min_length=1, max_length=3, json_schema_extra={"uniqueItems": True}),
    AfterValidator(_distinct),
]
TransferStatus = Literal["PENDING", "COMPLETED", "FAILED"]
TransferKind = Literal["transfer", "deposit"]
QueueName = Literal["transfers.requested", "notices.transfers-settled"]
DeadLetterState = Literal["waiting", "replayed", "discarded"]


class Request(BaseModel):
    """What a client sends."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Reply(BaseModel):
    """What a client gets."""

    model_config = ConfigDict(extra="forbid", frozen=True)


# --- Requests ----------------------------------------------------------------------------------------------------------


class Nothing(Request):
    """An empty object; the body may as well be left out."""


class Register(Request):
    """Somebody new."""

    email: Email
    password: Password
    name: Annotated[str, StringConstraints(min_length=1, max_length=NAME_LENGTH_MAX)]
    session: SessionKind = SESSION_IN_BODY


class Login(Request):
    """Somebody known."""

    email: Annotated[str, StringConstraints(min_length=1, max_length=EMAIL_LENGTH_MAX)]
    password: KnownPassword
    totp: TotpCode | None = None
    session: SessionKind = SESSION_IN_BODY


class Refresh(Request):
    """A refresh token; it is spent by this. Without one the cookie is taken."""

    refresh_token: Annotated[str, StringConstraints(min_length=1, max_length=TOKEN_LENGTH_MAX)] | None = None


class Logout(Request):
    """Nothing is needed: the session of the access token ends. A refresh token may be sent and is not looked at."""

    refresh_token: Annotated[str | None, StringConstraints(max_length=TOKEN_LENGTH_MAX)] = None


class LetterToken(Request):
    """The token of a letter; it is spent by this."""

    token: LetterTokenText


class ForgotPassword(Request):
    """Whose password was forgotten."""

    email: Email


class ResetPassword(Request):
    """The token of a letter, which is spent by this, and another password."""

    token: LetterTokenText
    new_password: Password


class ChangePassword(Request):
    """Another password. `totp` is needed when a second factor is on."""

    current_password: KnownPassword
    new_password: Password
    totp: TotpCode | None = None


class StartTotp(Request):
    """The password, once more."""

    password: KnownPassword


class ConfirmTotp(Request):
    """The first code of the authenticator."""

    code: TotpCode


class ProveTotp(Request):
    """Both factors."""

    password: KnownPassword
    totp: TotpCode


class NewRole(Request):
    """Another role."""

    role: Literal["user", "operator"]


class NewDisable(Request):
    """Why; for operators only."""

    reason: Annotated[str, StringConstraints(min_length=1, max_length=REASON_LENGTH_MAX)]


class NewWallet(Request):
    """A wallet in another currency."""

    currency: CurrencyCode


class To(Request):
    """Who gets it: an e-mail address or a wallet, exactly one."""

    email: Email | None = None
    wallet_id: Id | None = None

    @model_validator(mode="after")
    def _one_of_them(self) -> To:
        if (self.email is None) == (self.wallet_id is None):
            raise ValueError("must hold either email or wallet_id")
        return self

    def named(self) -> dict[str, str]:
        """The one that was given."""
        return {"email": self.email} if self.email is not None else {"wallet_id": str(self.wallet_id)}


class NewTransfer(Request):
    """Move this amount from a wallet of the sender (the one in this currency, unless it is named) to somebody."""

    currency: CurrencyCode
    amount: Amount
    to: To
    from_wallet_id: Id | None = None
    description: Description | None = None
    metadata: Metadata | None = None


class NewDeposit(Request):
    """Money that came from outside, into a wallet."""

    wallet_id: Id
    amount: Amount
    currency: CurrencyCode
    reference: Annotated[str, StringConstraints(min_length=1, max_length=DESCRIPTION_LENGTH_MAX)]


class NewApiKey(Request):
    """A key for a server, and the password once more. `totp` is needed when a second factor is on."""

    name: Annotated[str, StringConstraints(min_length=1, max_length=NAME_LENGTH_MAX)] = Field(
        description="What it is for; shown in lists."
    )
    scopes: Scopes
    password: KnownPassword
    totp: TotpCode | None = None
    expires_at: Moment | None = Field(None, description="When it ends by itself; never, unless it is given.")


class PageQuery(Request):
    """Which part of a list."""

    limit: Limit | None = Field(None, description=f"How many items at most; {PAGE_LIMIT} unless it is given.")
    cursor: Annotated[str, StringConstraints(min_length=1, max_length=CURSOR_LENGTH_MAX)] | None = Field(
        None, description="The `next_cursor` of the page before."
    )

    def parameters(self) -> dict[str, str]:
        """As the service behind takes them: times in UTC, names as outside."""
        given = self.model_dump(mode="json", by_alias=True, exclude_none=True)
        return {name: str(value) for name, value in ({"limit": PAGE_LIMIT} | given).items()}


class PeriodQuery(PageQuery, PeriodParameters):
    """Which part of a list, between two moments."""


class TransferQuery(PeriodQuery):
    """Which transfers."""

    status: TransferStatus | None = None
    kind: TransferKind | None = None
    wallet_id: Id | None = None
    idempotency_key: Annotated[str, StringConstraints(pattern=_KEY)] | None = None


class AuditQuery(PeriodQuery):
    """Which acts."""

    actor_id: Id | None = Field(None, description="Who acted.")
    user_id: Id | None = Field(None, description="Whom it concerned.")
    act: Annotated[str, StringConstraints(pattern=r"^[a-z0-9_.]{1,100}$")] | None = Field(
        None, description="What was done, for instance `login_failed`."
    )


class DeadLetterQuery(PageQuery):
    """Which dead letters."""

    queue: QueueName | None = Field(None, description="Of this queue alone.")
    state: Literal["waiting", "replayed", "discarded", "any"] = Field(
        "waiting", description="Those that wait, unless it is given."
    )


class ReplayQuery(Request):
    """Whether to do it."""

    dry_run: Literal["true", "false"] = Field("false", description="`true` only tells what a replay would do.")


class Discard(Request):
    """Why nobody has to look at it any more."""

    reason: Annotated[str, StringConstraints(min_length=1, max_length=500)]


class BalanceQuery(Request):
    """The balance at which moment."""

    at: Moment | None = Field(None, description="Now, unless it is given.")


class RecipientQuery(Request):
    """Whom to look for."""

    email: Email


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


# --- Answers -----------------------------------------------------------------------------------------------------------


class User(Reply):
    """A person, as the person and operators see it."""

    id: UUID
    email: str
    name: str
    role: Literal["user", "operator", "service"]
    email_verified: bool
    totp: bool = Field(description="Whether a second factor is on.")


class Disabled(Reply):
    """Since when nobody gets in as this user, and why."""

    at: AwareDatetime
    reason: str


class Account(User):
    """A user as operators see them; `disabled` is null for who may come in."""

    created_at: AwareDatetime
    disabled: Disabled | None


class OwnSession(Reply):
    """A session that goes on; `current` is the one that asks."""

    id: UUID
    created_at: AwareDatetime
    used_at: AwareDatetime
    user_agent: str | None
    current: bool


class SessionPage(Reply):
    """Sessions that go on, newest first."""

    items: list[OwnSession]
    next_cursor: str | None


class TotpProposal(Reply):
    """What goes into an authenticator: the secret in base32, and as the URI of a QR code."""

    secret: str
    uri: str


class RecoveryCodes(Reply):
    """Each of them stands in for a code of the second factor, once."""

    recovery_codes: list[str]


class SigningKeyState(Reply):
    """A key of access tokens: `waiting` to sign, `signing`, `verifying` what it signed before, or `retired`."""

    kid: str
    state: Literal["waiting", "signing", "verifying", "retired"]
    created_at: AwareDatetime
    signs_from: AwareDatetime
    retires_at: AwareDatetime | None = Field(description="When it is let go of, once another key takes over.")
    retired_at: AwareDatetime | None


class SigningKeyList(Reply):
    """Every key there ever was, oldest first."""

    items: list[SigningKeyState]
    next_cursor: str | None


class Rotation(SigningKeyList):
    """The keys after a rotation; `rotated` is false when a key was waiting already and no other was made."""

    rotated: bool


class Session(Reply):
    """Logged in. `expires_in` is the life of the access token in seconds."""

    user: User
    access_token: str
    refresh_token: str = Field(default_factory=str, description="Absent where it is in the cookie.")
    token_type: Literal["Bearer"]
    expires_in: int


class LetterAsked(Reply):
    """A letter is on its way, if there is somebody to get it. `expires_in` is the life of its token in seconds."""

    expires_in: int


class ApiKey(Reply):
    """A key as lists show it. `prefix` is the part of it that may be shown."""

    id: UUID
    name: str
    scopes: list[ScopeName]
    prefix: str
    created_at: AwareDatetime
    last_used_at: AwareDatetime | None
    expires_at: AwareDatetime | None
    revoked_at: AwareDatetime | None


class ApiKeyList(Reply):
    """Keys that were not revoked, newest first."""

    items: list[ApiKey]
    next_cursor: None


class CreatedApiKey(Reply):
    """A new key. `key` is told here and never again."""

    id: UUID
    name: str
    scopes: list[ScopeName]
    key: str
    prefix: str
    created_at: AwareDatetime
    expires_at: AwareDatetime | None


class Wallet(Reply):
    """A wallet. `available` is `balance` less `held`."""

    id: UUID
    owner_id: UUID
    currency: str
    balance: SignedAmount
    available: SignedAmount
    held: SignedAmount
    status: Literal["open", "frozen"]
    created_at: AwareDatetime


class WalletPage(Reply):
    """Wallets, in the order in which they were opened."""

    items: list[Wallet]
    next_cursor: str | None


class Balance(Reply):
    """A balance at an instant."""

    balance: SignedAmount
    available: SignedAmount
    held: SignedAmount
    as_of: AwareDatetime


class Counterparty(Reply):
    """The other side of an entry; `name` is null for the outside world and while names cannot be told."""

    wallet_id: UUID
    name: str | None


class Entry(Reply):
    """A line of a statement; `amount` is negative where money left."""

    seq: int
    transfer_id: UUID
    amount: SignedAmount
    balance_after: SignedAmount
    counterparty: Counterparty | None
    description: str | None
    created_at: AwareDatetime


class EntryPage(Reply):
    """Lines of a statement, newest first."""

    items: list[Entry]
    next_cursor: str | None


class Recipient(Reply):
    """Who would get it; the name is masked."""

    user_id: UUID
    name: str


class Failure(Reply):
    """Why a transfer failed."""

    code: Literal[
        "insufficient_funds",
        "wallet_not_found",
        "wallet_frozen",
        "currency_mismatch",
        "balance_limit",
        "timed_out",
        "cancelled",
    ]
    message: str


class Transfer(Reply):
    """A transfer. Once it is COMPLETED or FAILED, it never changes again."""

    id: UUID
    kind: TransferKind
    status: TransferStatus
    amount: Amount
    currency: str
    from_wallet_id: UUID
    to_wallet_id: UUID
    description: str | None
    metadata: dict[str, Any] | None
    created_at: AwareDatetime
    settles_by: AwareDatetime
    completed_at: AwareDatetime | None
    failed_at: AwareDatetime | None
    failure: Failure | None


class TransferPage(Reply):
    """Transfers, newest first."""

    items: list[Transfer]
    next_cursor: str | None


class Step(Reply):
    """Something that happened to a transfer."""

    at: AwareDatetime
    service: str
    step: Literal[
        "accepted",
        "queued",
        "picked_up",
        "dead_lettered",
        "replayed",
        "discarded",
        "posted",
        "rejected",
        "voided",
        "completed",
        "failed",
        "notified",
    ]
    detail: str | None


class Timeline(Reply):
    """What happened to a transfer, in order of time, and what it waits for."""

    transfer_id: UUID
    status: TransferStatus
    steps: list[Step]
    waiting_for: Literal["relay", "broker", "worker", "wallet", "reversal"] | None
    summary: str
    unavailable: list[str] = Field(description="Services that did not answer within 1 s: their steps are missing.")


class Notification(Reply):
    """A notice to a user."""

    id: UUID
    kind: Literal["transfer_completed", "transfer_received", "transfer_failed"]
    transfer_id: UUID
    title: str
    body: str
    created_at: AwareDatetime
    read_at: AwareDatetime | None


class TransferNews(Reply):
    """The transfer as it is since this event; the fields mean what they mean in a transfer."""

    id: UUID
    kind: TransferKind
    status: TransferStatus
    amount: Amount
    currency: str
    from_wallet_id: UUID
    to_wallet_id: UUID
    description: str | None
    completed_at: AwareDatetime | None
    failed_at: AwareDatetime | None
    failure: Failure | None


class StreamReset(Reply):
    """Why a stream could not be resumed: the next events are kept no more, or nobody knows the id."""

    reason: Literal["too_old", "unknown_id"]


class StreamEnd(Reply):
    """Why a stream ends; the machine word is also the type of the event."""

    code: Literal["token_expired", "session_ended", "server_draining"]
    detail: str


class NotificationPage(Reply):
    """Notices, newest first."""

    items: list[Notification]
    next_cursor: str | None


class Currency(Reply):
    """A currency; `exponent` is how many decimal digits its minor unit stands for."""

    code: str
    exponent: int
    name: str
    withdrawn: bool = Field(
        description="ISO 4217 has withdrawn this currency. Existing wallets keep working; new ones cannot be opened."
    )


class CurrencyList(Reply):
    """Every currency, by code."""

    items: list[Currency]
    published: date = Field(description="The date of the list of ISO 4217 that this one was made from.")


class Key(Reply):
    """A public key (RFC 8037)."""

    kty: Literal["OKP"]
    crv: Literal["Ed25519"]
    x: str
    kid: str
    use: Literal["sig"]
    alg: Literal["EdDSA"]


class KeySet(Reply):
    """The keys that sign access tokens (RFC 7517)."""

    keys: list[Key]


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


class Act(Reply):
    """Something that somebody did. `actor_id` is null where nobody is known, and at the command line of a server."""

    id: str = Field(description="Unique within its service.")
    at: AwareDatetime
    service: Literal["auth", "wallet", "transaction", "notification"]
    act: str
    actor_id: UUID | None
    user_id: UUID | None = Field(description="Whom it concerns, if that is one user.")
    subject: Subject | None
    detail: dict[str, Any]
    request_id: str


class ActPage(Reply):
    """Acts, newest first."""

    items: list[Act]
    next_cursor: str | None
    unavailable: list[str] = Field(
        description="Services that did not answer within 1 s: their acts come with a later page."
    )


class DeadLetter(Reply):
    """What a consumer could not do. `seen` counts the messages that told of it while it waited, `attempts` the tries."""

    id: UUID
    queue: QueueName
    state: DeadLetterState
    reason: str
    attempts: int
    message_id: str
    transfer_ids: list[UUID]
    request_ids: list[str]
    seen: int
    first_seen_at: AwareDatetime
    last_seen_at: AwareDatetime
    replays: int
    replayed_at: AwareDatetime | None
    discarded_at: AwareDatetime | None
    discard_reason: str | None


class WholeDeadLetter(DeadLetter):
    """A dead letter with the message: as text, null when it is none, and its very bytes."""

    body: str | None
    body_base64: str


class DeadLetterPage(Reply):
    """Dead letters, newest first."""

    items: list[DeadLetter]
    next_cursor: str | None
    unavailable: list[str] = Field(
        description="Services that did not answer within 1 s: theirs come with a later page."
    )


class ReplayedTransfer(Reply):
    """What a replay does to one transfer: a machine word and a sentence."""

    transfer_id: UUID
    status: str | None = Field(
        description="As it was just before: of the transfer, or `told`; null when it is unknown."
    )
    effect: Literal["nothing", "post", "void", "tell", "dead_letter", "refused"]
    detail: str
    outcome: Literal["posted", "rejected", "voided"] | None
    outcome_known: bool | None = Field(description="Whether the ledger has decided; null when it gave no answer.")


class Replay(Reply):
    """What a replay did or, with `dry_run`, would do. One that is not `replayable` is refused."""

    dead_letter: DeadLetter
    dry_run: bool
    replayable: bool
    detail: str
    transfers: list[ReplayedTransfer]


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


class Liveness(Reply):
    """The process turns."""

    status: Literal["ok"]


class Readiness(Reply):
    """What this process needs, by whether it answers."""

    ok: list[str]
    failing: list[str]


class Fault(Reply):
    """A faulty field of the request: its dotted path, and what is wrong with it."""

    field: str
    message: str


class Problem(Reply):
    """Why not (RFC 9457). `code` is stable; the catalogue tells what it means and whether a retry helps."""

    type: str
    title: str
    status: int
    detail: str
    code: str
    errors: list[Fault]
    request_id: str


class MomentProblem(Problem):
    """A problem with the moment up to which figures are final."""

    final_before: AwareDatetime = Field(description="The figures of earlier moments are final.")


class CancelProblem(Problem):
    """Why not, with the transfer as it is."""

    transfer: Transfer | None = None


TRANSFER: TypeAdapter[Transfer] = TypeAdapter(Transfer)
