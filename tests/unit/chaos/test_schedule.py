"""The schedule of a chaos run: repeatable by its seed, complete, and steered by words."""

from __future__ import annotations

import pytest

from tests.chaos.schedule import Kind, NothingToDo, choose, deal

KINDS = [
    Kind("wallet", "kill", cards=2),
    Kind("wallet", "freeze", (1.0, 2.0)),
    Kind("redis", "flush"),
    Kind("gateway>wallet", "cut", (0.5, 3.0)),
]


def test_the_seed_decides() -> None:
    """The same seed deals the same rounds, another seed others."""
    assert list(deal(KINDS, 7, 50)) == list(deal(KINDS, 7, 50))
    assert list(deal(KINDS, 7, 50)) != list(deal(KINDS, 8, 50))


def test_a_longer_run_begins_like_a_shorter_one() -> None:
    """Asking for more rounds does not change the first ones."""
    assert list(deal(KINDS, 7, 20)) == list(deal(KINDS, 7, 50))[:20]


def test_every_card_is_dealt_before_any_comes_again() -> None:
    """One deck holds each kind as often as it has cards; times lie within their bounds."""
    turns = list(deal(KINDS, 1, 5))

    assert sorted(["kill", "kill", "freeze", "flush", "cut"]) == sorted(turn.fault for turn in turns)
    assert all(1.0 <= turn.seconds <= 2.0 for turn in turns if turn.fault == "freeze")


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
def test_words_choose(word: str, expected: int) -> None:
    """A component, a fault, both, an edge by name or by an end of it."""
    assert expected == len(choose(KINDS, [word]))


def test_unknown_words_are_refused() -> None:
    """A word that matches nothing stops the run and says what there is."""
    with pytest.raises(NothingToDo, match=r"'walet'.*faults: cut, flush, freeze, kill; components: redis, wallet"):
        choose(KINDS, ["kill", "walet"])
