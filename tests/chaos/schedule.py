"""Which fault hits which component, when and for how long: a weighted list, shuffled by the seed, repeated."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

GAP_SECONDS_MAX = 1.0


@dataclass(frozen=True, slots=True)
class Kind:
    """A fault of one component, how long it lasts (seconds, from and to), and how often it occurs in one shuffled list."""

    component: str
    fault: str
    seconds: tuple[float, float] = (0.0, 0.0)
    weight: int = 1

    def matches(self, words: Sequence[str]) -> bool:
        """Whether one of the words is this component, this fault, or `component/fault`."""
        names = {self.component, self.fault, f"{self.component}/{self.fault}"}
        if ">" in self.component:
            names |= {"edges", *self.component.split(">")}
        return any(word in names for word in words)


@dataclass(frozen=True, slots=True)
class Round:
    """One fault to inject and heal; `gap` is the pause before it, in seconds."""

    number: int
    component: str
    fault: str
    seconds: float
    gap: float

    @property
    def process(self) -> str:
        """The process that is hit; for an edge, the caller."""
        return self.component.partition(">")[0]


class NoSuchFault(Exception):  # noqa: N818 - reads as what it is
    """No fault matches the selection."""


def select(kinds: Sequence[Kind], only: Sequence[str]) -> list[Kind]:
    """The kinds that match `only`, or all.

    Raises:
        NoSuchFault: a word matches no kind; the message lists the valid words.
    """
    for word in only:
        if not any(kind.matches([word]) for kind in kinds):
            faults = ", ".join(sorted({kind.fault for kind in kinds}))
            components = ", ".join(sorted({kind.component for kind in kinds if ">" not in kind.component}))
            raise NoSuchFault(f"no fault matches {word!r}; faults: {faults}; components: {components}, edges")
    return [kind for kind in kinds if not only or kind.matches(only)]


def generate(kinds: Sequence[Kind], seed: int, rounds: int) -> Iterator[Round]:
    """The rounds of a run; the same seed and kinds always give the same rounds."""
    chance = random.Random(f"schedule {seed}")
    number = 0
    while True:
        deck = [kind for kind in kinds for _ in range(kind.weight)]
        chance.shuffle(deck)
        for kind in deck:
            if number == rounds:
                return
            number += 1
            seconds = round(chance.uniform(*kind.seconds), 2)
            yield Round(number, kind.component, kind.fault, seconds, round(chance.uniform(0, GAP_SECONDS_MAX), 2))
