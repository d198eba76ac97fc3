"""The audit log of all services, as an operator reads it."""

from __future__ import annotations

from uuid import uuid4

from tests.harness.api import PASSWORD, Person
from tests.harness.stack import Stack


async def test_entries_of_all_services_in_one_list(stack: Stack, operator: Person, alice: Person) -> None:
    """A registration, a failed login, a deposit and a freeze: newest first, each with actor, subject and request id."""
    frozen = f"freeze-{uuid4().hex}"
    freeze = f"/ops/wallets/{alice.wallet_id}/freeze"
    await alice.send("POST", "/auth/login", json={"email": alice.email, "password": f"not {PASSWORD}"})
    assert 200 == (await operator.send("PUT", freeze, headers=_as(operator, frozen))).status
    assert 200 == (await operator.send("DELETE", freeze, headers=_as(operator, uuid4().hex))).status

    page = (await operator.get(f"/ops/audit?user_id={alice.user_id}")).body
    actions = [(item["service"], item["action"]) for item in page["items"]]
    by_act = {item["action"]: item for item in page["items"]}

    assert [
        ("wallet", "wallet_unfrozen"),
        ("wallet", "wallet_frozen"),
        ("auth", "login_failed"),
        ("transaction", "deposit_accepted"),
        ("auth", "user_registered"),
    ] == actions
    assert (None, []) == (page["next_cursor"], page["unavailable"])
    assert by_act["wallet_frozen"]["request_id"] == frozen
    assert {operator.user_id} == {by_act[action]["actor_id"] for action in ("wallet_frozen", "deposit_accepted")}
    assert {"kind": "wallet", "id": alice.wallet_id} == by_act["wallet_frozen"]["subject"]
    assert "transfer" == by_act["deposit_accepted"]["subject"]["kind"]


async def test_pages_and_filters(operator: Person, alice: Person) -> None:
    """Pages of one entry contain the same as one page; filters by action, actor and time return exactly the matches."""
    whole = (await operator.get(f"/ops/audit?user_id={alice.user_id}")).body["items"]
    walked, cursor = [], ""
    while True:
        page = (await operator.get(f"/ops/audit?user_id={alice.user_id}&limit=1{cursor}")).body
        walked += page["items"]
        if page["next_cursor"] is None:
            break
        cursor = f"&cursor={page['next_cursor']}"
    registered = whole[-1]
    by_act = (await operator.get("/ops/audit?action=user_registered&actor_id=" + alice.user_id)).body["items"]
    before = await operator.get(f"/ops/audit?user_id={alice.user_id}&to={registered['at']}")
    since = await operator.get(f"/ops/audit?user_id={alice.user_id}&from={registered['at']}")

    assert len(whole) >= 2
    assert whole == walked
    assert [registered] == by_act
    assert ([], whole) == (before.body["items"], since.body["items"])
    assert 422 == (await operator.get("/ops/audit?cursor=nonsense")).status


async def test_the_log_is_for_operators(alice: Person) -> None:
    """A user gets 403 for every request."""
    assert 403 == (await alice.get(f"/ops/audit?user_id={alice.user_id}")).status


async def test_an_unavailable_service_is_named(stack: Stack, operator: Person, alice: Person) -> None:
    """With the wallet down the other entries are returned in time, and the page names the missing service."""
    await stack.take_down("wallet")
    try:
        page = await operator.get(f"/ops/audit?user_id={alice.user_id}")
    finally:
        stack.bring_up("wallet")
        await stack.ready("wallet")

    assert (200, ["wallet"]) == (page.status, page.body["unavailable"])
    assert {"auth", "transaction"} == {item["service"] for item in page.body["items"]}


def _as(person: Person, request_id: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {person.token}", "X-Request-Id": request_id}
