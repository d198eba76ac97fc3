"""The schedule of a chaos run: repeatable by its seed, complete, and selectable by words."""

from __future__ import annotations

import pytest

from tests.chaos.schedule import Kind, NoSuchFault, generate, select

KINDS = [
    Kind("wallet", "kill", weight=2),
    Kind("wallet", "freeze", (1.0, 2.0)),
    Kind("redis", "flush"),
    Kind("gateway>wallet", "cut", (0.5, 3.0)),
]


def test_the_seed_decides() -> None:
    """The same seed generates the same rounds, another seed different ones."""
    assert list(generate(KINDS, 7, 50)) == list(generate(KINDS, 7, 50))
    assert list(generate(KINDS, 7, 50)) != list(generate(KINDS, 8, 50))


def test_a_longer_run_begins_like_a_shorter_one() -> None:
    """More rounds do not change the first ones."""
    assert list(generate(KINDS, 7, 20)) == list(generate(KINDS, 7, 50))[:20]


def test_each_kind_occurs_as_often_as_its_weight() -> None:
    """One shuffled list holds each kind as often as its weight; durations lie within their bounds."""
    rounds = list(generate(KINDS, 1, 5))

    assert sorted(["kill", "kill", "freeze", "flush", "cut"]) == sorted(round_.fault for round_ in rounds)
    assert all(1.0 <= round_.seconds <= 2.0 for round_ in rounds if round_.fault == "freeze")


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("wallet", 3),
        ("kill", 1),
        ("wallet/freeze", 1),
        ("edges", 1),
        ("gateway", 1),
        ("gateway>wallet", 1),
    ],
)
def test_words_select(word: str, expected: int) -> None:
    """A word matches a component, a fault, both, an edge by name or by one of its ends."""
    assert expected == len(select(KINDS, [word]))


def test_unknown_words_are_refused() -> None:
    """An unknown word stops the run with the list of valid words."""
    with pytest.raises(NoSuchFault, match=r"'walet'.*faults: cut, flush, freeze, kill; components: redis, wallet"):
        select(KINDS, ["kill", "walet"])
