"""Known locations: stored without the address, and readable by the gateway alone."""

from __future__ import annotations

from services.auth import rules
from services.chassis.database import Pool
from tests.integration.auth.service import SECRET, AuthService
from tests.integration.auth.test_totp import enable_totp

HOME, OTHER = "192.0.2.7", "2001:db8:7:7::/64"
ALICE = "alice@example.com"
PASSWORD = "correct horse"


async def _log_in(auth: AuthService, address: str, *, password: str = PASSWORD) -> int:
    body = {"email": ALICE, "password": password, "address": address}
    return (await auth.call("POST", "/internal/login", body)).status


async def _is_known(auth: AuthService, address: str, *, email: str = ALICE) -> bool:
    response = await auth.call("POST", "/internal/known-locations", {"email": email, "address": address})
    assert response.status == 200
    return bool(response.body["known"])


async def test_only_a_successful_login_makes_a_location_known(auth: AuthService, pool: Pool) -> None:
    """A location is known after a successful login there, for that account alone; failed logins do not count."""
    await auth.register(ALICE)
    await auth.register("bob@example.com")
    assert 401 == await _log_in(auth, HOME, password="wrong")
    assert not await _is_known(auth, HOME)

    assert 200 == await _log_in(auth, HOME)

    assert await _is_known(auth, HOME)
    assert await _is_known(auth, HOME, email=" ALICE@Example.com ")
    assert not await _is_known(auth, OTHER)
    assert not await _is_known(auth, HOME, email="bob@example.com")
    assert not await _is_known(auth, HOME, email="unknown@example.com")
    assert 1 == await pool.fetchval("SELECT count(*) FROM known_locations")


async def test_registration_makes_a_location_known(auth: AuthService) -> None:
    """A registration counts as a login; a registration with a taken address does not."""
    body = {"email": ALICE, "password": PASSWORD, "name": "Alice", "address": HOME}
    assert 201 == (await auth.call("POST", "/internal/register", body)).status
    assert 409 == (await auth.call("POST", "/internal/register", body | {"address": OTHER})).status

    assert await _is_known(auth, HOME)
    assert not await _is_known(auth, OTHER)


async def test_old_and_excess_locations_are_deleted(auth: AuthService, pool: Pool) -> None:
    """A location is known for 90 days after its last login, and an account keeps the 50 most recently used ones."""
    await auth.register(ALICE)
    for number in range(rules.known_locations.REMEMBERED_MAX):
        assert 200 == await _log_in(auth, f"192.0.2.{number}")
    await pool.execute(
        "UPDATE known_locations SET last_at = last_at - interval '91 days' WHERE location = $1",
        rules.known_locations.LocationHasher(SECRET).hash(ALICE, "192.0.2.3"),
    )
    assert not await _is_known(auth, "192.0.2.3")

    assert 200 == await _log_in(auth, "198.51.100.1")
    assert rules.known_locations.REMEMBERED_MAX == await pool.fetchval("SELECT count(*) FROM known_locations")
    assert 200 == await _log_in(auth, "198.51.100.2")

    assert rules.known_locations.REMEMBERED_MAX == await pool.fetchval("SELECT count(*) FROM known_locations")
    assert not await _is_known(auth, "192.0.2.0")
    assert await _is_known(auth, "192.0.2.1")


async def test_no_address_is_stored(auth: AuthService, pool: Pool) -> None:
    """The table has keyed hashes: it reveals neither the address nor that two accounts share one."""
    for email in (ALICE, "bob@example.com"):
        await auth.register(email)
        body = {"email": email, "password": PASSWORD, "address": HOME}
        assert 200 == (await auth.call("POST", "/internal/login", body)).status

    rows = await pool.fetch("SELECT * FROM known_locations")

    assert 2 == len({row["location"] for row in rows})
    assert HOME not in str([dict(row) for row in rows])
    assert rules.known_locations.LocationHasher("another secret of 32 characters!").hash(ALICE, HOME) not in {
        row["location"] for row in rows
    }


async def test_only_the_gateway_can_look_up_locations(auth: AuthService) -> None:
    """Other services, and callers without a token, cannot look up locations."""
    body = {"email": ALICE, "address": HOME}

    assert 403 == (await auth.call("POST", "/internal/known-locations", body, by="transaction")).status
    assert 401 == (await auth.send("POST", "/internal/known-locations", body)).status
    assert 422 == (await auth.call("POST", "/internal/known-locations", body | {"address": "x" * 65})).status


async def test_a_login_renews_a_location(auth: AuthService, pool: Pool) -> None:
    """Ninety days count from the last login; older locations are deleted at the next login from a new one."""
    await auth.register(ALICE)
    aged = "UPDATE known_locations SET last_at = clock_timestamp() - interval '89 days' WHERE location = $1"
    home, other = (rules.known_locations.LocationHasher(SECRET).hash(ALICE, address) for address in (HOME, OTHER))
    for address in (HOME, OTHER):
        assert 200 == await _log_in(auth, address)
    await pool.execute(aged, home)
    known = await _is_known(auth, HOME)
    assert 200 == await _log_in(auth, HOME)
    for location in (home, other):
        await pool.execute(
            "UPDATE known_locations SET last_at = last_at - interval '2 days' WHERE location = $1", location
        )
    renewed = await _is_known(auth, HOME)
    await pool.execute(aged.replace("89", "91"), other)
    assert 200 == await _log_in(auth, "198.51.100.1")
    kept = {row["location"] for row in await pool.fetch("SELECT location FROM known_locations")}

    assert (True, True) == (known, renewed)
    assert kept == {home, rules.known_locations.LocationHasher(SECRET).hash(ALICE, "198.51.100.1")}


async def test_a_password_without_the_code_makes_no_location_known(auth: AuthService, pool: Pool) -> None:
    """With a second factor, a login without its code fails, and its location stays unknown."""
    _, _, codes = await enable_totp(auth, pool)
    assert 401 == await _log_in(auth, HOME)
    assert not await _is_known(auth, HOME)
    body = {"email": ALICE, "password": PASSWORD, "address": HOME, "totp": codes[0]}
    assert 200 == (await auth.call("POST", "/internal/login", body)).status

    assert await _is_known(auth, HOME)
