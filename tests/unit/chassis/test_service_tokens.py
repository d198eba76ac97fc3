"""Service tokens between a caller and a callee with different clocks."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from services.chassis.service_tokens import NOW, Identity, TokenClockSkew, TokenSigner, TokenVerifier
from services.contracts.refusal import Refusal

HOUR = 3600.0
TRUE_TIME = 1_800_000_000.0


@dataclass
class ManualClock:
    """A clock that is set by hand."""

    now: float = TRUE_TIME

    def __call__(self) -> float:
        return self.now


@dataclass
class Pair:
    """A caller `worker` and a callee `wallet`, each with its own clock, and the monotonic clock of the caller."""

    caller_clock: ManualClock = field(default_factory=ManualClock)
    timer: ManualClock = field(default_factory=lambda: ManualClock(50.0))
    callee_clock: ManualClock = field(default_factory=ManualClock)
    key: Ed25519PrivateKey = field(default_factory=Ed25519PrivateKey.generate)

    def __post_init__(self) -> None:
        public_keys = {"worker": self.key.public_key()}
        self.signer = TokenSigner(
            Identity(self.key, public_keys), audience="wallet", clock=self.caller_clock, timer=self.timer
        )
        self.verifier = TokenVerifier(public_keys, audience="wallet", clock=self.callee_clock)

    def token(self, key: Ed25519PrivateKey | None = None, **changes: object) -> str:
        now = int(self.callee_clock.now)
        claims = {"iss": "worker", "aud": "wallet", "iat": now, "exp": now + 60} | changes
        return jwt.encode(claims, key or self.key, algorithm="EdDSA", headers={"kid": "worker"})

    def agree(self) -> None:
        """One round of the handshake: refused, learnt."""
        with pytest.raises(TokenClockSkew) as refusal:
            self.verifier.caller(self.signer.token())
        assert self.signer.learn(refusal.value)

    def both_wait(self, seconds: float) -> None:
        for clock in (self.caller_clock, self.callee_clock, self.timer):
            clock.now += seconds


@pytest.mark.parametrize("seconds", [-HOUR, -66, 6, HOUR])
def test_a_caller_uses_the_time_of_the_callee(seconds: float) -> None:
    """After one refusal with the time of the callee, all later tokens of the caller are valid there."""
    pair = Pair()
    pair.caller_clock.now += seconds

    pair.agree()

    for _ in range(10):
        assert "worker" == pair.verifier.caller(pair.signer.token())
        pair.both_wait(29)


@pytest.mark.parametrize("seconds", [-HOUR, HOUR])
def test_a_corrected_token_has_the_usual_lifetime(seconds: float) -> None:
    """By the clock of the callee it is valid for a minute and the leeway, and no longer."""
    pair = Pair()
    pair.caller_clock.now += seconds
    pair.agree()
    token = pair.signer.token()
    claims = jwt.decode(token, options={"verify_signature": False})

    assert (TRUE_TIME, TRUE_TIME + 60) == (claims["iat"], claims["exp"])
    pair.callee_clock.now = TRUE_TIME + 64.9
    assert "worker" == pair.verifier.caller(token)
    pair.callee_clock.now = TRUE_TIME + 65
    with pytest.raises(TokenClockSkew):
        pair.verifier.caller(token)


@pytest.mark.parametrize("seconds", [-HOUR, HOUR])
def test_jumps_of_the_callee_clock_are_followed(seconds: float) -> None:
    """The clock of the callee jumps and returns: two refusals, and each time the next token is valid."""
    pair = Pair()
    assert "worker" == pair.verifier.caller(pair.signer.token())
    for now in (TRUE_TIME + seconds, TRUE_TIME):
        pair.callee_clock.now = now

        pair.agree()

        assert "worker" == pair.verifier.caller(pair.signer.token())


@pytest.mark.parametrize("seconds", [-HOUR, HOUR])
def test_jumps_of_the_caller_clock_do_not_stop_renewal(seconds: float) -> None:
    """A token is renewed after half a minute of elapsed time, wherever the clock of the caller has jumped."""
    pair = Pair()
    first = pair.signer.token()
    pair.caller_clock.now += seconds
    pair.timer.now += 29

    assert first == pair.signer.token()
    pair.timer.now += 1
    assert first != pair.signer.token()


def test_times_of_a_cached_token_are_checked_again() -> None:
    """The times of a cached token are checked with every use, also when the clock of the callee is set back."""
    pair = Pair()
    token = pair.signer.token()
    assert "worker" == pair.verifier.caller(token)
    for jump in (-HOUR, -6, 66, HOUR):
        pair.callee_clock.now = TRUE_TIME + jump
        with pytest.raises(TokenClockSkew) as refusal:
            pair.verifier.caller(token)
        assert {NOW: TRUE_TIME + jump} == refusal.value.extra

    pair.callee_clock.now = TRUE_TIME
    assert "worker" == pair.verifier.caller(token)


def test_only_refusals_for_times_contain_the_time() -> None:
    """Any other invalid token is refused without the time of the callee: nothing to learn, no retry."""
    pair = Pair()
    for iat in (int(TRUE_TIME), int(TRUE_TIME - HOUR)):
        times: dict[str, Any] = {"iat": iat, "exp": iat + 60}
        for token in (
            pair.token(Ed25519PrivateKey.generate(), **times),
            pair.token(**times | {"aud": "auth"}),
            pair.token(**times | {"iss": "unknown"}),
            pair.token(**times | {"exp": iat + 61}),
            pair.token(**times | {"exp": str(iat + 60)}),
            pair.token(**times | {"iat": float(iat)}),
            pair.token(**times | {"iat": True}),
            pair.token(**times | {"nbf": iat}),
            jwt.encode({"iss": "worker", "aud": "wallet", **times}, pair.key, algorithm="EdDSA", headers={"kid": "x"}),
            jwt.encode({"iss": "worker", "aud": "wallet"}, pair.key, algorithm="EdDSA", headers={"kid": "worker"}),
            "",
            "a.b.c",
        ):
            assert pair.verifier.caller(token) is None, token


@pytest.mark.parametrize("now", [None, "1800000000", True, -1, 0, float("nan"), float("inf"), 1e300, [1]])
def test_an_invalid_time_is_ignored(now: object) -> None:
    """A refusal without a valid time changes nothing."""
    pair = Pair()
    token = pair.signer.token()

    assert not pair.signer.learn(Refusal(extra={} if now is None else {NOW: now}))
    assert token == pair.signer.token()


def test_each_callee_has_its_own_time() -> None:
    """The time of one callee does not affect tokens for another."""
    pair = Pair()
    other = TokenSigner(pair.signer.identity, audience="auth", clock=pair.caller_clock, timer=pair.timer)
    pair.callee_clock.now += HOUR
    pair.agree()

    assert TRUE_TIME == jwt.decode(other.token(), options={"verify_signature": False})["iat"]


def test_the_default_clock_is_the_system_clock() -> None:
    """By default both sides use the system clock."""
    pair = Pair()
    signer = TokenSigner(pair.signer.identity, audience="wallet")

    claims = jwt.decode(signer.token(), options={"verify_signature": False})

    assert abs(time.time() - claims["iat"]) < 60
    assert "worker" == TokenVerifier(pair.verifier.public_keys, audience="wallet").caller(signer.token())
