"""Where a request comes from, as properties."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_address

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.gateway.address import UNKNOWN, client_network_of, client_of, parse_networks

TRUSTED = parse_networks("10.0.0.0/8, 2001:db8:ffff::/48,192.0.2.1")
ADDRESSES = st.one_of(st.ip_addresses(v=4), st.ip_addresses(v=6).filter(lambda address: int(address) >> 65)).map(str)
PROXIES = st.sampled_from(["10.0.0.1", "10.255.255.255", "2001:db8:ffff::1", "192.0.2.1"])
STRANGERS = ADDRESSES.filter(lambda text: not any(ip_address(text) in network for network in TRUSTED))
LIES = st.lists(st.one_of(ADDRESSES, st.text(max_size=30), st.just("unknown")), max_size=5)


@settings(deadline=None)
@given(STRANGERS, LIES)
def test_strangers_say_nothing_about_themselves(peer: str, lies: list[str]) -> None:
    """Guarantee 47: whoever is no trusted proxy is who connected, whatever the request says."""
    assert peer == client_of(peer, lies, TRUSTED)


@settings(deadline=None)
@given(ADDRESSES, LIES)
def test_nobody_is_trusted_unless_said(peer: str, lies: list[str]) -> None:
    """Guarantee 47: without the setting the header has no effect."""
    assert peer == client_of(peer, lies, ())


@settings(deadline=None)
@given(PROXIES, LIES, STRANGERS, st.lists(PROXIES, max_size=3))
def test_what_the_outermost_proxy_saw_counts(peer: str, lies: list[str], client: str, chain: list[str]) -> None:
    """Behind trusted proxies it is the last address that is none of them; what stands left of it changes nothing."""
    assert str(ip_address(client)) == client_of(peer, [*lies, ", ".join([client, *chain])], TRUSTED)


@settings(deadline=None)
@given(
    PROXIES,
    LIES,
    st.lists(PROXIES, max_size=3),
    st.sampled_from(["", "unknown", "1.2.3", "1.2.3.4:80", "[::1]", "a b"]),
)
def test_nonsense_is_the_peer(peer: str, lies: list[str], chain: list[str], nonsense: str) -> None:
    """An entry that is no address ends the reading: then the proxy itself is counted."""
    assert peer == client_of(peer, [*lies, nonsense, *chain], TRUSTED)


@settings(deadline=None)
@given(st.lists(PROXIES, max_size=3))
def test_only_proxies_are_the_peer(chain: list[str]) -> None:
    """A trusted proxy that calls for itself is itself."""
    assert "10.0.0.1" == client_of("10.0.0.1", chain, TRUSTED)


@settings(deadline=None)
@given(st.ip_addresses(v=6).filter(lambda address: int(address) >> 65), st.integers(0, 2**64 - 1))
def test_one_network_is_one_place(address: IPv6Address, host: int) -> None:
    """All addresses of a /64 count as one, however they are written."""
    neighbour = IPv6Address(int(address) >> 64 << 64 | host)

    assert client_network_of(str(address)) == client_network_of(neighbour.exploded.upper())
    assert client_network_of(str(address)) != client_network_of(str(IPv6Address(int(address) ^ 1 << 64)))
    assert len(client_network_of(str(address))) <= 64


@settings(deadline=None)
@given(st.ip_addresses(v=4))
def test_ipv4_is_itself(address: IPv4Address) -> None:
    """Also where the socket shows it as an IPv6 address."""
    assert str(address) == client_network_of(str(address)) == client_network_of(f"::ffff:{address}")


@settings(deadline=None)
@given(st.text(max_size=40).filter(lambda text: not any(character in ".:" for character in text)))
def test_what_is_no_address_is_one_place(text: str) -> None:
    """There is nothing by which one could get a count of one's own."""
    assert UNKNOWN == client_network_of(text)


@pytest.mark.parametrize("text", ["10.0.0.0/33", "10.0.0.1/8", "proxy", "10.0.0.0/8;::1", "*"])
def test_networks_must_be_networks(text: str) -> None:
    """A setting that does not say what it means is refused."""
    with pytest.raises(ValueError):  # noqa: PT011 - every kind of nonsense
        parse_networks(text)
