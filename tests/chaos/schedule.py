"""Which fault strikes what, when, and for how long: a deck of cards, shuffled by the seed, dealt again and again."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

GAP_SECONDS_MAX = 1.0


@dataclass(frozen=True, slots=True)
class Kind:
    """A way to break something, how long it stays broken (seconds, from and to), and how many cards it has."""

    component: str
    fault: str
    seconds: tuple[float, float] = (0.0, 0.0)
    cards: int = 1

    def matches(self, words: Sequence[str]) -> bool:
        """Whether one of the words is this component, this fault, or `component/fault`."""
        names = {self.component, self.fault, f"{self.component}/{self.fault}"}
        if ">" in self.component:
            names |= {"edges", *self.component.split(">")}
        return any(word in names for word in words)


@dataclass(frozen=True, slots=True)
class Round:
    """One fault to inject and heal; `gap` is the quiet before it, in seconds."""

    number: int
    component: str
    fault: str
    seconds: float
    gap: float

    @property
    def process(self) -> str:
        """The process that is hit: of an edge, the one that calls."""
        return self.component.partition(">")[0]


class NothingToDo(Exception):  # noqa: N818 - reads as what it is
    """No fault is called what was asked for."""


def choose(kinds: Sequence[Kind], only: Sequence[str]) -> list[Kind]:
    """The kinds that were asked for, or all.

    Raises:
        NothingToDo: a word matches none; the message names what there is.
    """
    for word in only:
        if not any(kind.matches([word]) for kind in kinds):
            faults = ", ".join(sorted({kind.fault for kind in kinds}))
            components = ", ".join(sorted({kind.component for kind in kinds if ">" not in kind.component}))
            raise NothingToDo(f"nothing is called {word!r}; faults: {faults}; components: {components}, edges")
    return [kind for kind in kinds if not only or kind.matches(only)]


def deal(kinds: Sequence[Kind], seed: int, rounds: int) -> Iterator[Round]:
    """The rounds of a run: the same seed and kinds give the same rounds, for ever."""
    chance = random.Random(f"schedule {seed}")
    number = 0
    while True:
        deck = [kind for kind in kinds for _ in range(kind.cards)]
        chance.shuffle(deck)
        for kind in deck:
            if number == rounds:
                return
            number += 1
            seconds = round(chance.uniform(*kind.seconds), 2)
            yield Round(number, kind.component, kind.fault, seconds, round(chance.uniform(0, GAP_SECONDS_MAX), 2))
