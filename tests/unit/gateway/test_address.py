"""The client address of a request, as properties."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_address

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.gateway.address import UNKNOWN, client_network_of, client_of, parse_networks

TRUSTED = parse_networks("10.0.0.0/8, 2001:db8:ffff::/48,192.0.2.1")
ADDRESSES = st.one_of(st.ip_addresses(v=4), st.ip_addresses(v=6).filter(lambda address: int(address) >> 65)).map(str)
PROXIES = st.sampled_from(["10.0.0.1", "10.255.255.255", "2001:db8:ffff::1", "192.0.2.1"])
UNTRUSTED = ADDRESSES.filter(lambda text: not any(ip_address(text) in network for network in TRUSTED))
CLAIMS = st.lists(st.one_of(ADDRESSES, st.text(max_size=30), st.just("unknown")), max_size=5)


@settings(deadline=None)
@given(UNTRUSTED, CLAIMS)
def test_forwarded_for_is_ignored_from_untrusted_peers(peer: str, claims: list[str]) -> None:
    """Guarantee 47: an untrusted peer is the client, whatever the header claims."""
    assert peer == client_of(peer, claims, TRUSTED)


@settings(deadline=None)
@given(ADDRESSES, CLAIMS)
def test_no_proxy_is_trusted_by_default(peer: str, claims: list[str]) -> None:
    """Guarantee 47: without the setting the header has no effect."""
    assert peer == client_of(peer, claims, ())


@settings(deadline=None)
@given(PROXIES, CLAIMS, UNTRUSTED, st.lists(PROXIES, max_size=3))
def test_client_is_the_last_untrusted_address(peer: str, claims: list[str], client: str, chain: list[str]) -> None:
    """Behind trusted proxies, the client is the last address that is not a proxy; entries further left change nothing."""
    assert str(ip_address(client)) == client_of(peer, [*claims, ", ".join([client, *chain])], TRUSTED)


@settings(deadline=None)
@given(
    PROXIES,
    CLAIMS,
    st.lists(PROXIES, max_size=3),
    st.sampled_from(["", "unknown", "1.2.3", "1.2.3.4:80", "[::1]", "a b"]),
)
def test_an_invalid_entry_means_the_peer(peer: str, claims: list[str], chain: list[str], invalid: str) -> None:
    """If an entry is not an address, the proxy itself is counted."""
    assert peer == client_of(peer, [*claims, invalid, *chain], TRUSTED)


@settings(deadline=None)
@given(st.lists(PROXIES, max_size=3))
def test_a_chain_of_proxies_means_the_peer(chain: list[str]) -> None:
    """A trusted proxy that sends its own request is the client."""
    assert "10.0.0.1" == client_of("10.0.0.1", chain, TRUSTED)


@settings(deadline=None)
@given(st.ip_addresses(v=6).filter(lambda address: int(address) >> 65), st.integers(0, 2**64 - 1))
def test_a_64_network_is_one_client_network(address: IPv6Address, host: int) -> None:
    """All addresses of a /64 network count as one, in any spelling."""
    neighbour = IPv6Address(int(address) >> 64 << 64 | host)

    assert client_network_of(str(address)) == client_network_of(neighbour.exploded.upper())
    assert client_network_of(str(address)) != client_network_of(str(IPv6Address(int(address) ^ 1 << 64)))
    assert len(client_network_of(str(address))) <= 64


@settings(deadline=None)
@given(st.ip_addresses(v=4))
def test_ipv4_is_itself(address: IPv4Address) -> None:
    """Also if the socket reports it as an IPv6 address."""
    assert str(address) == client_network_of(str(address)) == client_network_of(f"::ffff:{address}")


@settings(deadline=None)
@given(st.text(max_size=40).filter(lambda text: not any(character in ".:" for character in text)))
def test_invalid_addresses_share_one_client_network(text: str) -> None:
    """An invalid address does not get a quota of its own."""
    assert UNKNOWN == client_network_of(text)


@pytest.mark.parametrize("text", ["10.0.0.0/33", "10.0.0.1/8", "proxy", "10.0.0.0/8;::1", "*"])
def test_invalid_networks_are_rejected(text: str) -> None:
    """A malformed setting is rejected."""
    with pytest.raises(ValueError):  # noqa: PT011 - each is invalid in its own way
        parse_networks(text)
