"""Operators manage users."""

from __future__ import annotations

import asyncio
import json
from uuid import UUID

import pytest

from services.auth import commands
from services.auth.rules.user import Role
from services.chassis.database import Pool
from services.contracts.identifiers import new_id
from services.contracts.refusals.auth import LastOperator
from tests.harness.locks import until_waiting
from tests.integration.auth.service import AuthService, Response, register_operator
from tests.integration.auth.test_sessions import claims_of

EMAIL = "alice@example.com"


async def action(auth: AuthService, method: str, user_id: str, what: str, operator_id: str, **body: str) -> Response:
    return await auth.call(method, f"/internal/users/{user_id}/{what}", {"operator_id": operator_id} | body)


async def test_user_is_found_by_address(auth: AuthService) -> None:
    """An account is found by its address in any spelling; an unknown or malformed address is 404."""
    alice = await auth.register(EMAIL)
    found = await auth.call("POST", "/internal/users/find", {"email": " ALICE@example.com "})
    missing = [
        await auth.call("POST", "/internal/users/find", {"email": each}) for each in ("bob@example.com", "no address")
    ]

    assert 200 == found.status
    assert alice["user"] | {"disabled": None, "created_at": found.body["created_at"]} == found.body
    assert [(404, "user_not_found")] * 2 == [(each.status, each.body["code"]) for each in missing]


async def test_disabled_user_is_not_found_as_a_recipient(auth: AuthService) -> None:
    """By e-mail a disabled user looks unknown, in any spelling; the name stays; an enabled user is found again."""
    alice, bob = await auth.register(EMAIL), await auth.register("bob@example.com")
    user_id, operator_id = alice["user"]["id"], str(new_id())
    body = {"emails": [EMAIL, "ALICE@example.com", "bob@example.com", "unknown@example.com"]}
    before = await auth.call("POST", "/internal/recipients", body)
    await action(auth, "PUT", user_id, "disable", operator_id, reason="a test")
    disabled = await auth.call("POST", "/internal/recipients", body)
    names = await auth.call("POST", "/internal/names", {"ids": [user_id]})
    await action(auth, "DELETE", user_id, "disable", operator_id)
    after = await auth.call("POST", "/internal/recipients", body)

    assert 3 == len(before.body["items"])
    assert [("bob@example.com", bob["user"]["id"])] == [
        (item["email"], item["user_id"]) for item in disabled.body["items"]
    ]
    assert [user_id] == [item["user_id"] for item in names.body["items"]]
    assert before.body == after.body


async def test_disabling_ends_all_access_at_once(auth: AuthService, pool: Pool) -> None:
    """Guarantee 45: every session ends in the commit; only the correct password gets 403; an enabled user can log in again."""
    alice, bob = await auth.register(EMAIL), await auth.register("bob@example.com")
    second = (await auth.log_in(EMAIL)).body
    user_id, operator_id = alice["user"]["id"], str(new_id())
    disabled = await action(auth, "PUT", user_id, "disable", operator_id, reason="stolen telephone")
    again = await action(auth, "PUT", user_id, "disable", operator_id, reason="another reason")
    out = [
        await auth.log_in(EMAIL),
        await auth.log_in(EMAIL, "correct horsf"),
        await auth.refresh(alice["refresh_token"]),
    ]
    unknown = await auth.log_in("unknown@example.com", "correct horsf")
    feed = await auth.revocations()
    enabled = await action(auth, "DELETE", user_id, "disable", operator_id)

    assert (200, "stolen telephone") == (disabled.status, disabled.body["disabled"]["reason"])
    assert disabled.body == again.body
    assert [(403, "user_disabled"), (401, "invalid_credentials"), (401, "invalid_refresh_token")] == [
        (each.status, each.body["code"]) for each in out
    ]
    assert unknown.body | {"request_id": ""} == out[1].body | {"request_id": ""}
    assert {claims_of(alice)["sid"], claims_of(second)["sid"]} == {item["session_id"] for item in feed["items"]}
    assert (200, None) == (enabled.status, enabled.body["disabled"])
    assert 200 == (await auth.log_in(EMAIL)).status
    assert 401 == (await auth.refresh(second["refresh_token"])).status
    assert 200 == (await auth.refresh(bob["refresh_token"])).status
    rows = await pool.fetch(
        "SELECT action, actor_id::text, user_id::text, detail FROM audit_log WHERE action LIKE 'user_%abled'"
    )
    assert [("user_disabled", operator_id, user_id), ("user_enabled", operator_id, user_id)] == [
        (row["action"], row["actor_id"], row["user_id"]) for row in rows
    ]
    assert {"reason": "stolen telephone"} == json.loads(rows[0]["detail"])


async def test_role_is_set_and_removed(auth: AuthService, pool: Pool) -> None:
    """Gaining a role keeps sessions; losing one ends them; setting the current role changes nothing."""
    alice = await auth.register(EMAIL)
    user_id, operator_id = alice["user"]["id"], await register_operator(auth, pool)
    given = await action(auth, "PUT", user_id, "role", operator_id, role="operator")
    renewed = await auth.refresh(alice["refresh_token"])
    same = await action(auth, "PUT", user_id, "role", operator_id, role="operator")
    taken = await action(auth, "PUT", user_id, "role", operator_id, role="user")
    wrong = await action(auth, "PUT", user_id, "role", operator_id, role="service")

    assert ["operator", "operator", "user"] == [each.body["role"] for each in (given, same, taken)]
    assert "operator" == claims_of(renewed.body)["role"]
    assert 401 == (await auth.refresh(renewed.body["refresh_token"])).status
    assert 1 == len((await auth.revocations())["items"])
    assert (422, "role") == (wrong.status, wrong.body["errors"][0]["field"])


async def test_operators_cannot_modify_themselves(auth: AuthService, pool: Pool) -> None:
    """Operators cannot disable or demote themselves; an unknown id is 404; nothing changes."""
    user_id = (await auth.register(EMAIL))["user"]["id"]
    await action(auth, "PUT", user_id, "role", str(new_id()), role="operator")
    own = [
        await action(auth, "PUT", user_id, "role", user_id, role="user"),
        await action(auth, "PUT", user_id, "disable", user_id, reason="tired"),
    ]
    kept = await action(auth, "PUT", user_id, "role", user_id, role="operator")
    unknown = await action(auth, "PUT", str(new_id()), "disable", user_id, reason="x")

    assert [(409, "cannot_modify_self")] * 2 == [(each.status, each.body["code"]) for each in own]
    assert (200, 404) == (kept.status, unknown.status)
    assert 1 == await pool.fetchval("SELECT count(*) FROM users WHERE role = 'operator' AND disabled_at IS NULL")


async def test_a_former_operator_is_rejected(auth: AuthService, pool: Pool) -> None:
    """Guarantee 45: demoted or disabled a moment ago, also if the gateway does not know yet; nothing is recorded."""
    mallory, accomplice = [(await auth.register(f"{name}@example.com"))["user"]["id"] for name in ("mallory", "bob")]
    output, ops = [], await register_operator(auth, pool)
    for what, body in (("role", {"role": "user"}), ("disable", {"reason": "left us"})):
        assert 200 == (await action(auth, "PUT", mallory, "role", ops, role="operator")).status
        assert 200 == (await action(auth, "PUT", mallory, what, ops, **body)).status
        output += [
            await action(auth, "PUT", accomplice, "role", mallory, role="operator"),
            await action(auth, "PUT", accomplice, "disable", mallory, reason="x"),
            await action(auth, "DELETE", accomplice, "disable", mallory),
        ]

    assert [(403, "operator_required")] * 6 == [(response.status, response.body["code"]) for response in output]
    assert ["user_registered"] == [
        row["action"] for row in await pool.fetch("SELECT action FROM audit_log WHERE actor_id = $1", UUID(mallory))
    ]


ENDS = {"disable": {"reason": "left us"}, "role": {"role": "user"}}


@pytest.mark.parametrize(("first", "second"), [("disable", "disable"), ("disable", "role"), ("role", "role")])
async def test_two_operators_who_remove_each_other(auth: AuthService, pool: Pool, first: str, second: str) -> None:
    """Two operators disable or demote each other concurrently: one request fails, and one operator is left."""
    alice, bob = [await register_operator(auth, pool, f"{name}@example.com") for name in ("alice", "bob")]
    async with pool.acquire() as connection:
        # Both transactions have read the operators and neither has committed; this lock delays them if nothing else does.
        transaction = connection.transaction()
        await transaction.start()
        await connection.fetch("SELECT 1 FROM sessions FOR UPDATE")
        actions = [
            asyncio.create_task(action(auth, "PUT", bob, first, alice, **ENDS[first])),
            asyncio.create_task(action(auth, "PUT", alice, second, bob, **ENDS[second])),
        ]
        await until_waiting(pool, 2)
        await transaction.rollback()
        responses = [await each for each in actions]

    assert [200, 403] == sorted(response.status for response in responses)
    assert "operator_required" in {response.body.get("code") for response in responses}
    assert 1 == await _operating(pool)


async def test_the_last_operator_cannot_be_removed(auth: AuthService, pool: Pool) -> None:
    """The last enabled operator can be neither demoted nor disabled, by anyone, nor from the command line."""
    alice, bob = [await register_operator(auth, pool, f"{name}@example.com") for name in ("alice", "bob")]
    assert 200 == (await action(auth, "PUT", bob, "disable", alice, reason="left us")).status
    refused = [await action(auth, "PUT", alice, what, str(new_id()), **body) for what, body in ENDS.items()]
    with pytest.raises(LastOperator):
        await commands.users.grant_role(pool, email=EMAIL, role=Role.USER)
    recorded = await pool.fetchval("SELECT count(*) FROM audit_log WHERE user_id = $1", UUID(alice))

    assert [(409, "last_operator")] * 2 == [(each.status, each.body["code"]) for each in refused]
    assert (1, 1) == (recorded, await _operating(pool))
    assert 200 == (await action(auth, "DELETE", bob, "disable", alice)).status
    assert 200 == (await action(auth, "PUT", alice, "disable", bob, reason="left us")).status


async def test_two_concurrent_demotions_from_the_command_line(auth: AuthService, pool: Pool) -> None:
    """Of the last two operators, demoted concurrently, one stays."""
    for name in ("alice", "bob"):
        await register_operator(auth, pool, f"{name}@example.com")
    done = await asyncio.gather(
        *(commands.users.grant_role(pool, email=f"{name}@example.com", role=Role.USER) for name in ("alice", "bob")),
        return_exceptions=True,
    )

    assert 1 == len([each for each in done if isinstance(each, LastOperator)])
    assert 1 == await _operating(pool)


async def _operating(pool: Pool) -> int:
    return int(await pool.fetchval("SELECT count(*) FROM users WHERE role = 'operator' AND disabled_at IS NULL"))
