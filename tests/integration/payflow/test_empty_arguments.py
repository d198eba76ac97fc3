"""Guarantee 17b: an argument that is empty or 0 never counts as omitted."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from payflow import settings
from payflow.address import parse_address
from payflow.client import PayFlow
from payflow.errors import InvalidArgument, Misconfigured, OutcomeUnknown, PayFlowError, Problem
from payflow.limits import Limits
from payflow.session import MemorySessionStore, Session
from services.gateway.idempotency import _VISIBLE

POST = "POST /transfers"
DEPOSIT = "POST /ops/deposits"
PAYMENT = {"amount": 1050, "currency": "USD", "to_email": "bob@example.com"}
BROUGHT_IN = {"wallet_id": "w", "amount": 5, "currency": "USD", "reference": "wire 7"}

IMPOSSIBLE_KEYS = [
    "",
    " ",
    "a b",
    "tab\t",
    "line\n",
    "nul\x00",
    "del\x7f",
    "schlüssel",
    "鍵",
    "k" * 256,
    7,
    b"key",
    False,
]
POSSIBLE_KEYS = ["0", "None", "!", "~", "k" * 255]


@pytest.mark.parametrize("key", IMPOSSIBLE_KEYS)
async def test_impossible_key_is_refused_before_anything_is_sent(
    gateway: Any, alice: PayFlow, ops: PayFlow, key: Any
) -> None:
    """Empty, too long, not visible ASCII or not a text: send, deposit and look-up raise, and no request is made."""
    calls: list[Awaitable[Any]] = [
        alice.send(**PAYMENT, idempotency_key=key),  # type: ignore[arg-type]
        ops.operator.deposit(**BROUGHT_IN, idempotency_key=key),  # type: ignore[arg-type]
        alice.find_by_key(key),
    ]
    for call in calls:
        with pytest.raises(InvalidArgument, match="1 to 255 visible ASCII") as raised:
            await call
        assert isinstance(raised.value, ValueError)
        assert isinstance(raised.value, PayFlowError)

    assert [] == gateway.requests


@pytest.mark.parametrize("key", POSSIBLE_KEYS)
async def test_possible_key_is_sent_as_it_is(gateway: Any, alice: PayFlow, ops: PayFlow, key: str) -> None:
    """A key such as `0` or `None` is a key like any other: a second send with it creates no second transfer."""
    first, second = [await alice.send(**PAYMENT, idempotency_key=key) for _ in range(2)]  # type: ignore[arg-type]
    deposit = await ops.operator.deposit(**BROUGHT_IN, idempotency_key=key)  # type: ignore[arg-type]

    assert [key] * 3 == [request.key for request in (*gateway.seen(POST), *gateway.seen(DEPOSIT))]
    assert (first.id, True) == (second.id, second.replayed)
    assert first.id != deposit.id


def test_client_and_gateway_accept_the_same_keys() -> None:
    """The client accepts the keys that the API accepts, for every character and every length around the limits."""
    from payflow.submission import check_key  # noqa: PLC0415 - named beside the rule that it is compared with

    def is_taken(key: str) -> bool:
        try:
            return check_key(key) == key
        except InvalidArgument:
            return False

    candidates = [chr(code) for code in range(0x300)] + ["k" * length for length in (0, 1, 2, 254, 255, 256, 257)]
    assert [bool(_VISIBLE.fullmatch(key)) for key in candidates] == [is_taken(key) for key in candidates]


async def test_empty_values_are_sent_and_not_dropped(gateway: Any, alice: PayFlow) -> None:
    """An empty address, wallet, text or object, an amount of 0 and empty filters reach the gateway, which decides."""
    gateway.pages["/transfers"] = []
    await alice.send(amount=0, currency="", to_email="", from_wallet_id="", description="", metadata={}, wait_seconds=0)
    await alice.send(amount=1, currency="USD", to_wallet_id="", wait_seconds=0)
    [_ async for _ in alice.transfers(status="", kind="", wallet_id="")]

    assert {
        "amount": 0,
        "currency": "",
        "to": {"email": ""},
        "from_wallet_id": "",
        "description": "",
        "metadata": {},
    } == gateway.seen(POST)[0].body
    assert {"wallet_id": ""} == gateway.seen(POST)[1].body["to"]
    assert {"status": "", "kind": "", "wallet_id": "", "limit": "200"} == gateway.seen("GET /transfers")[0].query


async def test_empty_filters_of_operators_are_sent(gateway: Any, ops: PayFlow) -> None:
    """An empty actor, user or action is not the whole audit log, an empty queue not all queues, and 0 not the default number."""
    for call in (
        ops.operator.audit(actor_id="", user_id="", action="", limit=0),
        ops.operator.dead_letters(queue="", state=""),
        ops.operator.proof(head=""),
    ):
        with pytest.raises(Problem):
            await call

    queries = [request.query for request in gateway.requests if request.path.startswith("/ops/")]
    assert [
        {"actor_id": "", "user_id": "", "action": "", "limit": "0"},
        {"queue": "", "state": "", "limit": "200"},
        {"full": "1", "head": ""},
    ] == queries


@pytest.mark.parametrize("wallet_id", ["", ".", ".."])
async def test_empty_wallet_is_not_the_default_one(gateway: Any, alice: PayFlow, wallet_id: str) -> None:
    """Balance and statement of an empty id raise; they are not those of the wallet in US dollars."""
    with pytest.raises(InvalidArgument):
        await alice.balance(wallet_id)
    with pytest.raises(InvalidArgument):
        [_ async for _ in alice.statement(wallet_id)]

    assert [] == gateway.requests


@pytest.mark.parametrize("nothing", ["", ".", ".."])
async def test_empty_id_never_becomes_another_address(gateway: Any, alice: PayFlow, ops: PayFlow, nothing: str) -> None:
    """Ending the session "" does not end all sessions: an id that would change the path is rejected."""
    calls: list[Awaitable[Any]] = [
        alice.end_session(nothing),
        alice.revoke_api_key(nothing),
        alice.cancel(nothing),
        alice.transfer(nothing),
        alice.timeline(nothing),
        ops.operator.set_role(nothing, "user"),
        ops.operator.disable_user(nothing, "a test"),
        ops.operator.enable_user(nothing),
        ops.operator.dead_letter(nothing),
        ops.operator.replay_dead_letter(nothing),
        ops.operator.discard_dead_letter(nothing, "a test"),
    ]
    for call in calls:
        with pytest.raises(InvalidArgument):
            await call

    assert [] == gateway.requests


@pytest.mark.parametrize("key", ["", " ", "pf_live_ä", "two words", "line\nfeed"])
def test_impossible_api_key_is_rejected_at_once(key: str) -> None:
    """An empty API key raises before the first request; it does not count as no key."""
    with pytest.raises(Misconfigured, match="API key"):
        PayFlow("http://127.0.0.1:9", api_key=key)


async def test_empty_credentials_are_credentials(gateway: Any) -> None:
    """An empty address and password are sent, and the gateway refuses the login; they do not count as no credentials."""
    with pytest.raises(Misconfigured, match="both"):
        PayFlow(gateway.url, email="")
    async with PayFlow(gateway.url, email="", password="") as client:
        with pytest.raises(Problem) as refused:
            await client.wallets()

    assert "invalid_credentials" == refused.value.code
    assert {"email": "", "password": ""} == gateway.seen("POST /auth/login")[0].body


async def test_empty_code_is_sent(gateway: Any, alice: PayFlow) -> None:
    """An empty code of the second factor is a wrong code, not a login without one."""
    await alice.login("alice@example.com", "payflow-demo-1", totp="")

    assert "" == gateway.seen("POST /auth/login")[0].body["totp"]


class EmptySessionStore(MemorySessionStore):
    """A session store with a length: it is false while it is empty."""

    def __len__(self) -> int:
        return int(self.load() is not None)


async def test_empty_session_store_is_used(gateway: Any) -> None:
    """A session store is used also while it is empty and therefore false."""
    session_store = EmptySessionStore()
    async with PayFlow(
        gateway.url, email="alice@example.com", password="payflow-demo-1", session_store=session_store
    ) as client:
        await client.login("alice@example.com", "payflow-demo-1")

    assert isinstance(session_store.load(), Session)


@pytest.mark.parametrize("wait_seconds", [-1, -0.001, math.nan, -math.inf])
async def test_impossible_wait_is_rejected(gateway: Any, alice: PayFlow, wait_seconds: float) -> None:
    """A negative wait would shorten the time limit of the request: it raises, and nothing is sent."""
    with pytest.raises(InvalidArgument):
        await alice.send(**PAYMENT, wait_seconds=wait_seconds)  # type: ignore[arg-type]

    assert [] == gateway.requests


@pytest.mark.parametrize(("wait_seconds", "preferred"), [(0, None), (0.9, None), (2, "wait=2"), (math.inf, "wait=30")])
async def test_wait_of_zero_is_no_wait(
    gateway: Any, alice: PayFlow, wait_seconds: float, preferred: str | None
) -> None:
    """0 does not wait; an infinite wait prefers the longest wait of the gateway, and then polls."""
    gateway.keeps_preference = True
    await alice.send(**PAYMENT, wait_seconds=wait_seconds)  # type: ignore[arg-type]

    assert preferred == gateway.seen(POST)[0].headers.get("Prefer")


@pytest.mark.parametrize("name", ["connect_seconds", "response_seconds", "proof_seconds", "poll_seconds_min"])
@pytest.mark.parametrize("seconds", [0, -1, math.nan])
def test_time_limit_of_zero_is_rejected(name: str, seconds: float) -> None:
    """The HTTP library takes a time limit of 0 for no limit; the client rejects it."""
    with pytest.raises(InvalidArgument, match=name):
        Limits(**{name: seconds})  # type: ignore[arg-type]


def test_limits_without_an_attempt_are_rejected() -> None:
    """Limits that allow no attempt raise."""
    with pytest.raises(InvalidArgument):
        Limits(attempts_max=0)


@pytest.mark.parametrize(
    "kept",
    [
        PAYMENT | {"to_wallet_id": "w", "description": "rent"},
        PAYMENT | {"to_wallet_id": "w", "metadata": {"invoice": 7}},
        PAYMENT | {"to_wallet_id": "v"},
        PAYMENT | {"to_wallet_id": "w", "amount": 1051},
        PAYMENT | {"to_wallet_id": "w", "currency": "EUR"},
    ],
)
async def test_found_transfer_with_more_than_was_sent_is_another(
    gateway: Any, faults: Any, alice: PayFlow, kept: dict[str, Any]
) -> None:
    """An omitted description or metadata is a difference: the transfer under the key is not this payment."""
    await alice.login("alice@example.com", "payflow-demo-1")
    assert alice.user is not None
    gateway.add_transfer({"id": alice.user.id}, "used", {**kept, "to": {"wallet_id": kept["to_wallet_id"]}})
    gateway.fail(POST, *[faults.cut(after=False)] * 6)

    with pytest.raises(OutcomeUnknown):
        await alice.send(amount=1050, currency="USD", to_wallet_id="w", idempotency_key="used", wait_seconds=0)


async def test_found_transfer_that_is_the_same_is_returned(gateway: Any, faults: Any, alice: PayFlow) -> None:
    """If every field is as sent, the transfer that is found under the key is this payment."""
    payment = {"amount": 5, "currency": "USD", "to_wallet_id": "w", "description": "", "metadata": {}}
    gateway.fail(POST, faults.cut(after=True), *[faults.cut(after=False)] * 5)

    transfer = await alice.send(**payment, wait_seconds=0)  # type: ignore[arg-type]

    assert [transfer.id] == list(gateway.transfers)


async def test_empty_option_is_not_the_default_gateway(
    gateway: Any, run: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """`--gateway ""`, before or after the command, and an empty PAYFLOW_GATEWAY end the command with one line."""
    ran = [await run("--gateway", "", "queue"), await run("queue", "--gateway", "")]
    monkeypatch.setenv("PAYFLOW_GATEWAY", "")
    ran.append(await run("queue"))

    assert [(1, "", "payflow: '' is not the address of a gateway; one looks like http://127.0.0.1:8000\n")] * 3 == [
        (each.code, each.out, each.err) for each in ran
    ]
    assert [] == gateway.requests


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (("trace", ""), 2),
        (("audit", "--actor", ""), 2),
        (("audit", "--user", ""), 2),
        (("audit", "--since", ""), 2),
        (("audit", "--limit", "0"), 2),
        (("audit", "--limit", ""), 2),
        (("events", "--count", "0"), 2),
        (("events", "--after", ""), 2),
        (("ledger", "verify", "--head", ""), 2),
        (("dead-letters", "show", ""), 2),
        (("dead-letters", "list", "--state", ""), 2),
        (("api-keys", "revoke", ""), 1),
    ],
)
async def test_empty_option_is_refused_by_the_command(
    gateway: Any, run: Callable[..., Any], words: tuple[str, ...], code: int
) -> None:
    """An empty id, time or number, and a count of 0: one line, and nothing is sent."""
    await run("login", "ops@example.com")
    gateway.requests.clear()

    ran = await run(*words)

    assert (code, "", 1) == (ran.code, ran.out, ran.err.count("\n"))
    assert [] == gateway.requests


@pytest.mark.parametrize(
    ("words", "path", "query"),
    [
        (("audit", "--action", ""), "/ops/audit", {"action": "", "limit": "50"}),
        (
            ("dead-letters", "list", "--queue", ""),
            "/ops/dead-letters",
            {"queue": "", "state": "waiting", "limit": "200"},
        ),
        (("users", "show", ""), "/ops/users", {"email": ""}),
    ],
)
async def test_empty_option_is_sent(
    gateway: Any, run: Callable[..., Any], words: tuple[str, ...], path: str, query: dict[str, str]
) -> None:
    """An empty filter is sent, and the gateway refuses it; it is not a list without the filter."""
    await run("login", "ops@example.com")

    ran = await run(*words)

    assert 1 == ran.code
    assert [query] == [request.query for request in gateway.seen(f"GET {path}")]


async def test_empty_password_of_the_environment_is_a_password(
    gateway: Any, run: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """An empty PAYFLOW_PASSWORD is sent as it is; there is no prompt for another."""
    monkeypatch.setenv("PAYFLOW_PASSWORD", "")
    ran = await run("login", "alice@example.com", "--totp", "")

    assert (1, True) == (ran.code, "invalid_credentials" in ran.err)
    assert {"email": "alice@example.com", "password": "", "totp": ""} == gateway.seen("POST /auth/login")[0].body


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home folder, and another working folder."""
    (tmp_path / "working").mkdir()
    monkeypatch.chdir(tmp_path / "working")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def test_sessions_are_not_kept_in_the_working_folder(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty XDG_CONFIG_HOME counts as unset, as its specification says."""
    monkeypatch.setenv("XDG_CONFIG_HOME", "")

    assert home / ".config" / "payflow" / "sessions" == settings.sessions_folder()


@pytest.mark.parametrize("text", ["http://h:0", "http://@h", "http://:secret@h", "http://h?", "http://h#"])
def test_address_with_an_empty_part_is_rejected(text: str) -> None:
    """An address with an empty part, or port 0, raises; the part is not dropped."""
    with pytest.raises(Misconfigured):
        parse_address(text)
