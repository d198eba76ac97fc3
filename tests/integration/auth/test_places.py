"""Where an account logged in from: kept without the address, told to the gateway alone."""

from __future__ import annotations

from services.auth import rules
from services.chassis.database import Pool
from tests.integration.auth.service import SECRET, AuthService
from tests.integration.auth.test_totp import turn_on

HOME, UNAVAILABLE = "192.0.2.7", "2001:db8:7:7::/64"
ALICE = "alice@example.com"
PASSWORD = "correct horse"


async def _log_in(auth: AuthService, address: str, *, password: str = PASSWORD) -> int:
    asked = {"email": ALICE, "password": password, "address": address}
    return (await auth.call("POST", "/internal/login", asked)).status


async def _is_known(auth: AuthService, address: str, *, email: str = ALICE) -> bool:
    answer = await auth.call("POST", "/internal/places", {"email": email, "address": address})
    assert answer.status == 200
    return bool(answer.body["known"])


async def test_only_success_makes_a_place_known(auth: AuthService, pool: Pool) -> None:
    """A place is known after a login that succeeded there, for that account alone; wrong passwords teach nothing."""
    await auth.register(ALICE)
    await auth.register("bob@example.com")
    assert 401 == await _log_in(auth, HOME, password="wrong")
    assert not await _is_known(auth, HOME)

    assert 200 == await _log_in(auth, HOME)

    assert await _is_known(auth, HOME)
    assert await _is_known(auth, HOME, email=" ALICE@Example.com ")
    assert not await _is_known(auth, UNAVAILABLE)
    assert not await _is_known(auth, HOME, email="bob@example.com")
    assert not await _is_known(auth, HOME, email="nobody@example.com")
    assert 1 == await pool.fetchval("SELECT count(*) FROM login_places")


async def test_registration_makes_a_place_known(auth: AuthService) -> None:
    """Who has just joined proved from here who they are; one whose e-mail address was taken proved nothing."""
    asked = {"email": ALICE, "password": PASSWORD, "name": "Alice", "address": HOME}
    assert 201 == (await auth.call("POST", "/internal/register", asked)).status
    assert 409 == (await auth.call("POST", "/internal/register", asked | {"address": UNAVAILABLE})).status

    assert await _is_known(auth, HOME)
    assert not await _is_known(auth, UNAVAILABLE)


async def test_old_and_too_many_places_are_forgotten(auth: AuthService, pool: Pool) -> None:
    """A place is known for 90 days after its last login, and an account has the 50 it used last."""
    await auth.register(ALICE)
    for number in range(rules.known_locations.REMEMBERED_MAX):
        assert 200 == await _log_in(auth, f"192.0.2.{number}")
    await pool.execute(
        "UPDATE login_places SET last_at = last_at - interval '91 days' WHERE place = $1",
        rules.known_locations.Places(SECRET).name(ALICE, "192.0.2.3"),
    )
    assert not await _is_known(auth, "192.0.2.3")

    assert 200 == await _log_in(auth, "198.51.100.1")
    assert rules.known_locations.REMEMBERED_MAX == await pool.fetchval("SELECT count(*) FROM login_places")
    assert 200 == await _log_in(auth, "198.51.100.2")

    assert rules.known_locations.REMEMBERED_MAX == await pool.fetchval("SELECT count(*) FROM login_places")
    assert not await _is_known(auth, "192.0.2.0")
    assert await _is_known(auth, "192.0.2.1")


async def test_no_address_is_stored(auth: AuthService, pool: Pool) -> None:
    """The table holds keyed hashes: not the address, and not that two accounts share one."""
    for email in (ALICE, "bob@example.com"):
        await auth.register(email)
        asked = {"email": email, "password": PASSWORD, "address": HOME}
        assert 200 == (await auth.call("POST", "/internal/login", asked)).status

    rows = await pool.fetch("SELECT * FROM login_places")

    assert 2 == len({row["place"] for row in rows})
    assert HOME not in str([dict(row) for row in rows])
    assert rules.known_locations.Places("another secret of 32 characters!").name(ALICE, HOME) not in {
        row["place"] for row in rows
    }


async def test_only_the_gateway_may_ask(auth: AuthService) -> None:
    """Where somebody logs in from is nobody else's business."""
    asked = {"email": ALICE, "address": HOME}

    assert 403 == (await auth.call("POST", "/internal/places", asked, by="transaction")).status
    assert 401 == (await auth.send("POST", "/internal/places", asked)).status
    assert 422 == (await auth.call("POST", "/internal/places", asked | {"address": "x" * 65})).status


async def test_a_login_renews_a_place(auth: AuthService, pool: Pool) -> None:
    """Ninety days count from the last login there; what is older goes when the account logs in from another place."""
    await auth.register(ALICE)
    aged = "UPDATE login_places SET last_at = clock_timestamp() - interval '89 days' WHERE place = $1"
    home, away = (rules.known_locations.Places(SECRET).name(ALICE, address) for address in (HOME, UNAVAILABLE))
    for address in (HOME, UNAVAILABLE):
        assert 200 == await _log_in(auth, address)
    await pool.execute(aged, home)
    known = await _is_known(auth, HOME)
    assert 200 == await _log_in(auth, HOME)
    for place in (home, away):
        await pool.execute("UPDATE login_places SET last_at = last_at - interval '2 days' WHERE place = $1", place)
    renewed = await _is_known(auth, HOME)
    await pool.execute(aged.replace("89", "91"), away)
    assert 200 == await _log_in(auth, "198.51.100.1")
    kept = {row["place"] for row in await pool.fetch("SELECT place FROM login_places")}

    assert (True, True) == (known, renewed)
    assert kept == {home, rules.known_locations.Places(SECRET).name(ALICE, "198.51.100.1")}


async def test_the_right_password_alone_teaches_no_place(auth: AuthService, pool: Pool) -> None:
    """Where a second factor is on, a login without its code proves nothing, and its place stays unknown."""
    _, _, codes = await turn_on(auth, pool)
    assert 401 == await _log_in(auth, HOME)
    assert not await _is_known(auth, HOME)
    asked = {"email": ALICE, "password": PASSWORD, "address": HOME, "totp": codes[0]}
    assert 200 == (await auth.call("POST", "/internal/login", asked)).status

    assert await _is_known(auth, HOME)
