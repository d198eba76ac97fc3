"""Codes of the second factor, and recovery codes."""

from __future__ import annotations

import base64

import pytest

from services.auth import rules
from services.contracts.identifiers import new_id

SECRET = b"12345678901234567890"
"""The secret of the test vectors of RFC 6238."""

NOW = 1_111_111_100
"""In the middle of a step: 10 s after its beginning, 20 s before its end."""


def code_of(step: int, secret: bytes = SECRET) -> str:
    return rules.totp._generator(secret).generate(step * 30).decode()


@pytest.mark.parametrize(
    ("now", "code"), [(59, "287082"), (1111111109, "081804"), (1234567890, "005924"), (20000000000, "353130")]
)
def test_codes_are_those_of_the_rfc(now: int, code: str) -> None:
    """Codes of an authenticator app that follows RFC 6238 are accepted, with steps of 30 seconds."""
    assert now // 30 == rules.totp.find_step(SECRET, code, now=now)


@pytest.mark.parametrize(("away", "counts"), [(-2, False), (-1, True), (0, True), (1, True), (2, False)])
@pytest.mark.parametrize("now", [NOW, NOW - 10, NOW + 19])
def test_a_code_is_accepted_one_step_early_and_one_step_late(away: int, counts: bool, now: int) -> None:
    """At any time exactly three codes are accepted; the step of each is found, so that each works once."""
    step = now // 30 + away

    assert (step if counts else None) == rules.totp.find_step(SECRET, code_of(step), now=now)


def test_only_the_complete_code_is_accepted() -> None:
    """Spaces do not matter; a part of a code, a longer code and the code of another secret are rejected."""
    code = code_of(NOW // 30)

    assert NOW // 30 == rules.totp.find_step(SECRET, f"{code[:3]} {code[3:]}", now=NOW)
    for other in ("", code[:5], code[1:], code + "0", code_of(NOW // 30, b"another secret 12345")):
        assert rules.totp.find_step(SECRET, other, now=NOW) is None


def test_a_secret_has_160_bits() -> None:
    """A secret has 160 bits and is written in base 32; no two are equal."""
    secrets = {rules.totp.new_secret() for _ in range(100)}

    assert 100 == len(secrets)
    for secret in secrets:
        assert (20, secret) == (len(secret), base64.b32decode(rules.totp.secret_text(secret)))


def test_recovery_codes_are_ten_of_eighty_bits() -> None:
    """Ten codes, all different, in four groups of four characters."""
    made = [rules.totp.new_recovery_codes() for _ in range(20)]

    assert {10} == {len(codes) for codes in made}
    assert 200 == len({code for codes in made for code in codes})
    for code in made[0]:
        assert [4, 4, 4, 4] == [len(group) for group in code.split("-")]
        assert 10 == len(base64.b32decode(code.replace("-", "").upper()))


def test_a_recovery_code_is_stored_for_its_user() -> None:
    """The spelling does not matter; for another user, or with another character, the hash differs."""
    alice, bob = new_id(), new_id()
    code = "abcd-efgh-ijkl-mnop"
    spelled = {rules.totp.hash_recovery_code(alice, each) for each in (code, "ABCD EFGH IJKL MNOP", "abcdefghijklmnop")}

    assert 1 == len(spelled)
    assert rules.totp.hash_recovery_code(bob, code) not in spelled
    assert rules.totp.hash_recovery_code(alice, code[:-1] + "q") not in spelled
