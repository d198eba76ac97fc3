"""Pure: the client address of a request. `X-Forwarded-For` counts only where a trusted proxy wrote it."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

Network = IPv4Network | IPv6Network

UNKNOWN = "unknown"
"""The client network of all peers without a network address."""

PREFIX_LENGTH = 64
"""Limits count the network of an IPv6 address: a client with one address of it has all of them."""

CACHED_MAX = 8192


def parse_networks(text: str) -> tuple[Network, ...]:
    """Networks in CIDR notation, separated by commas; an address alone is a network of one.

    Raises:
        ValueError: one of them is not a network, or has bits set beyond its prefix.
    """
    return tuple(ip_network(part.strip()) for part in text.split(",") if part.strip())


@lru_cache(CACHED_MAX)
def client_network_of(address: str) -> str:
    """The unit that limits count: the address, or its /64 network. One spelling for each; `UNKNOWN` if it is not an address."""
    parsed = _parse(address)
    if parsed is None:
        return UNKNOWN
    if isinstance(parsed, IPv4Address):
        return str(parsed)
    return str(IPv6Network((int(parsed), PREFIX_LENGTH), strict=False))


def client_of(peer: str, forwarded: Sequence[str], trusted: Sequence[Network]) -> str:
    """The address of the client: the peer of the connection, unless that is a trusted proxy.

    Then it is the last entry of `X-Forwarded-For` (its header lines in order) that is not a trusted proxy: any client may have
    written the entries further left. If an entry is not an address, or all of them are proxies, it is the peer.
    """
    if not trusted or not forwarded or not _is_trusted(_parse(peer), trusted):
        return peer
    for entry in reversed(",".join(forwarded).split(",")):
        address = _parse(entry.strip(" \t"))
        if address is None:
            break
        if not _is_trusted(address, trusted):
            return str(address)
    return peer


def _is_trusted(address: IPv4Address | IPv6Address | None, trusted: Sequence[Network]) -> bool:
    return address is not None and any(address in network for network in trusted)


def _parse(text: str) -> IPv4Address | IPv6Address | None:
    try:
        address = ip_address(text.partition("%")[0])
    except ValueError:
        return None
    # A dual-stack socket reports IPv4 peers as mapped addresses.
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return mapped or address
