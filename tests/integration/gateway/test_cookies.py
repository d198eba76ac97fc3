"""Browser sessions: the refresh token in a cookie, and the pages that may use it."""

from __future__ import annotations

from typing import Any

from services.contracts.identifiers import new_id
from tests.integration.gateway.conftest import ApiClient, Open, Response
from tests.integration.gateway.upstream_fakes import problem

BASE = "/api/v1/auth"
COOKIE = "__Host-payflow-refresh"
LISTED = "https://app.example.com"
LOGIN = {"email": "alice@example.com", "password": "x"}
USER = {"id": "0" * 8, "email": "alice@example.com", "name": "A", "role": "user", "email_verified": False}


def session(refresh_token: str) -> dict[str, Any]:
    return {
        "user": USER, "access_token": "a", "refresh_token": refresh_token, "token_type": "Bearer", "expires_in": 600,
    }  # fmt: skip


def granted(refresh_token: str) -> str:
    return f"{COOKIE}={refresh_token}; Max-Age=2592000; Path=/; Secure; HttpOnly; SameSite=Strict"


CLEARED = f"{COOKIE}=; Max-Age=0; Path=/; Secure; HttpOnly; SameSite=Strict"


async def refresh(api: ApiClient, *, cookie: str | None = "first", origin: str | None = "", **more: Any) -> Response:
    """A refresh by a page, by default of this gateway's own origin."""
    origin_header = {"Origin": api.url if origin == "" else origin} if origin is not None else {}
    cookie_header = {"Cookie": f"{COOKIE}={cookie}"} if cookie is not None else {}
    headers = origin_header | cookie_header | more.pop("headers", {})
    return await api.call("POST", f"{BASE}/refresh", headers=headers, **more)


async def test_login_and_register_with_a_cookie(api: ApiClient) -> None:
    """With `"session": "cookie"` the refresh token is in the cookie only; auth does not receive the field."""
    fakes = api.fakes.auth
    fakes.responses |= {"POST /internal/login": session("first"), "POST /internal/register": session("first")}
    for path, body in (("login", LOGIN), ("register", LOGIN | {"name": "A", "password": "long enough"})):
        response = await api.call("POST", f"{BASE}/{path}", json=body | {"session": "cookie"})
        plain = await api.call("POST", f"{BASE}/{path}", json=body | {"session": "body"})
        foreign = await api.call(
            "POST", f"{BASE}/{path}", json=body | {"session": "cookie"}, headers={"Origin": "https://evil.example"}
        )

        assert granted("first") == response.headers["Set-Cookie"]
        assert {"user", "access_token", "token_type", "expires_in"} == set(response.json())
        assert "Set-Cookie" not in plain.headers
        assert "first" == plain.json()["refresh_token"]
        assert (403, "origin_not_allowed") == (foreign.status, foreign.json()["code"])
        assert {"session"} & set(fakes.calls_to("POST", f"/internal/{path}")[0].body) == set()


async def test_refresh_by_cookie(api: ApiClient) -> None:
    """Without a token in the body, the one in the cookie is used, and the new one is set as the cookie."""
    fakes = api.fakes.auth
    fakes.responses["POST /internal/refresh"] = session("second")
    bodies: list[dict[str, Any]] = [{}, {"json": {}}, {"json": {"refresh_token": None}}]
    for more in bodies:
        response = await refresh(api, **more)
        assert (200, granted("second")) == (response.status, response.headers["Set-Cookie"])
        assert "refresh_token" not in response.json()
    in_body = await refresh(api, cookie=None, origin=None, json={"refresh_token": "mine"})

    assert "second" == in_body.json()["refresh_token"]
    assert "Set-Cookie" not in in_body.headers
    sent = [call.body["refresh_token"] for call in fakes.calls_to("POST", "/internal/refresh")]
    assert ["first", "first", "first", "mine"] == sent


async def test_the_cookie_requires_a_known_origin(open_client: Open) -> None:
    """A request with the cookie needs a known origin; any other, none, null or two: 403, and no token is spent."""
    async with open_client(allowed_origins=LISTED, public_url="https://pay.example/app") as api:
        fakes = api.fakes.auth
        fakes.responses["POST /internal/refresh"] = session("second")
        foreign = [
            "https://evil.example",
            "null",
            None,
            f"{api.url}.evil.example",
            "http://pay.example",
            f"{LISTED}:444",
        ]
        refused = [await refresh(api, origin=origin) for origin in foreign]
        refused.append(await refresh(api, origin=None, headers={"Sec-Fetch-Site": "cross-site"}))
        refused.append(await refresh(api, origin="https://evil.example", headers={"Sec-Fetch-Site": "same-origin"}))
        spent = len(fakes.calls_to("POST", "/internal/refresh"))
        admitted = [await refresh(api, origin=origin) for origin in ("", LISTED, "https://pay.example")]
        admitted.append(await refresh(api, origin=None, headers={"Sec-Fetch-Site": "same-origin"}))

    assert {(403, "origin_not_allowed")} == {(response.status, response.json()["code"]) for response in refused}
    assert not [response for response in refused if "Set-Cookie" in response.headers]
    assert 0 == spent
    assert [200] * 4 == [response.status for response in admitted]


async def test_cookie_or_body(api: ApiClient) -> None:
    """Both at once are refused; neither counts as a wrong token."""
    both = await refresh(api, json={"refresh_token": "mine"})
    neither = await refresh(api, cookie=None)

    assert (422, ["refresh_token"]) == (both.status, [error["field"] for error in both.json()["errors"]])
    assert (401, "invalid_refresh_token") == (neither.status, neither.json()["code"])
    assert "Bearer" == neither.headers["WWW-Authenticate"]
    assert [] == api.fakes.auth.calls_to("POST", "/internal/refresh")


async def test_a_spent_cookie_is_removed(api: ApiClient) -> None:
    """A spent cookie is sent to auth like a token in a body, so it ends its session; after the refusal the cookie is removed."""
    fakes = api.fakes.auth
    fakes.responses["POST /internal/refresh"] = problem(401, "invalid_refresh_token")
    spent = await refresh(api)
    fakes.responses["POST /internal/refresh"] = problem(503, "database_unavailable")
    unavailable = await refresh(api)

    assert (401, CLEARED) == (spent.status, spent.headers["Set-Cookie"])
    assert "Bearer" == spent.headers["WWW-Authenticate"]
    assert 503 == unavailable.status
    assert "Set-Cookie" not in unavailable.headers


async def test_logout_and_reset_remove_the_cookie(api: ApiClient, token: str) -> None:
    """Logout and password reset remove the cookie of a browser that sent it, and only then."""
    api.fakes.auth.responses["POST /internal/password/reset"] = {"ended": []}
    cookie_header = {"Cookie": f"other=1; {COOKIE}=first"}
    body = {"token": "t", "new_password": "long enough"}
    reset = await api.call("POST", f"{BASE}/password/reset", json=body, headers=cookie_header)
    quiet = await api.call("POST", f"{BASE}/password/reset", json=body, headers={"Cookie": "other=1"})
    out = await api.call("POST", f"{BASE}/logout", token=token, headers=cookie_header)

    assert [CLEARED] * 2 == [response.headers.get("Set-Cookie") for response in (reset, out)]
    assert "Set-Cookie" not in quiet.headers


async def test_ending_the_current_session_removes_the_cookie(api: ApiClient, user_id: str) -> None:
    """Ending the current session is a logout and removes the cookie; ending another keeps it."""
    own, other = str(new_id()), str(new_id())
    api.fakes.auth.responses["POST /internal/sessions/end"] = {}
    responses = [
        await api.call(
            "DELETE",
            f"{BASE}/sessions/{each}",
            token=api.fakes.auth.token(sub=user_id, sid=own),
            headers={"Cookie": f"{COOKIE}=first"},
        )
        for each in (other, own)
    ]

    assert [204, 204] == [response.status for response in responses]
    assert [None, CLEARED] == [response.headers.get("Set-Cookie") for response in responses]


async def test_the_cookie_is_not_an_access_token(api: ApiClient) -> None:
    """It is not an access token on any route."""
    for method, path in (("GET", "/api/v1/wallets"), ("POST", f"{BASE}/logout"), ("GET", f"{BASE}/me")):
        response = await api.call(method, path, headers={"Cookie": f"{COOKIE}=first", "Origin": api.url})
        assert 401 == response.status
