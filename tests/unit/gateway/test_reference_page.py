"""The OpenAPI document as a page."""

from __future__ import annotations

import re
from html import unescape

from services.gateway import api, openapi
from services.gateway.api import OPERATIONS, reference_page

DOCUMENT = openapi.build((*OPERATIONS, *api.reference.HEALTH))
PAGE = reference_page.render(DOCUMENT)
OPERATION_IDS = [operation["operationId"] for methods in DOCUMENT["paths"].values() for operation in methods.values()]


def section(identifier: str) -> str:
    """The part of the page about one operation, as text."""
    found = re.search(rf'<section class="operation" id="{identifier}">(.*?)</section>', PAGE, re.DOTALL)
    assert found is not None
    return unescape(re.sub(r"<[^>]+>", " ", found[1]))


def test_each_operation_has_a_section_and_a_link() -> None:
    """Every operation is on the page once, and the menu links to it."""
    sections = re.findall(r'<section class="operation" id="([^"]+)"', PAGE)

    assert sorted(OPERATION_IDS) == sorted(sections)
    for identifier in OPERATION_IDS:
        assert f'<li><a href="#{identifier}">' in PAGE


def test_every_link_leads_somewhere() -> None:
    """Each link within the page has its target."""
    targets = set(re.findall(r'id="([^"]+)"', PAGE))

    assert set() == set(re.findall(r'href="#([^"]+)"', PAGE)) - targets


def test_groups_come_in_the_order_of_a_newcomer() -> None:
    """Sign-up first, then wallets and transfers; what operators need comes late."""
    groups = re.findall(r'<h2 id="[^"]+">([^<]+)</h2>', PAGE)

    assert [tag["name"] for tag in DOCUMENT["tags"]] == groups[:-2]
    assert groups.index("Accounts and sessions") < groups.index("Transfers") < groups.index("Operations")
    assert ["Errors", "Schemas"] == groups[-2:]


def test_code_is_marked_up() -> None:
    """Inline code is an element: outside of schemas no backtick is left."""
    assert "`" not in PAGE.partition('<h2 id="schemas">')[0]


def test_an_operation_shows_request_response_and_codes() -> None:
    """A section has an example of both directions, the caller it is for, and every code that can come back."""
    text = section("create_transfer")

    for part in ("Idempotency-Key: order-A-1001", '"amount": 1050', "202 Accepted", '"status": "PENDING"'):
        assert part in text
    for code in ("insufficient_funds", "idempotency_key_reused", "rate_limited", "outcome_unknown"):
        assert code in text
    assert "Access token, or an API key with the scope transfer" in re.sub(r"\s+", " ", text)
    assert "No authentication." in section("register")
    assert "Access token of an operator" in section("ops_get_overview")
