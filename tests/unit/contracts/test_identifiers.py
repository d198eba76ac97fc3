"""Identifiers sort by time, and have only one valid form."""

from __future__ import annotations

import time
from uuid import UUID

import pytest

from services.contracts.identifiers import first_id_at, new_id, parse_id

NANOSECONDS = 1_767_225_600_123_456_789


def test_ids_of_one_millisecond_sort_by_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Half a microsecond later is a larger id, whatever the random part is."""
    made = []
    for step in range(1000):
        monkeypatch.setattr("services.contracts.identifiers.time.time_ns", lambda step=step: NANOSECONDS + 500 * step)
        made.append(new_id())

    assert sorted(made) == made
    assert {(7, "specified in RFC 4122")} == {(id_.version, id_.variant) for id_ in made}


def test_the_first_id_of_a_moment_divides_before_from_after(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ids created a millisecond earlier are below it, those of the same millisecond are not."""
    moment = NANOSECONDS // 1_000_000 / 1000
    ids = []
    for shift in (-1_000_000, 0):
        monkeypatch.setattr("services.contracts.identifiers.time.time_ns", lambda shift=shift: NANOSECONDS + shift)
        ids.append(new_id())

    assert ids[0] < first_id_at(moment) <= ids[1]
    assert (7, "specified in RFC 4122") == (first_id_at(moment).version, first_id_at(moment).variant)


def test_new_ids_differ() -> None:
    """Even those created at the same instant."""
    assert 1000 == len({new_id() for _ in range(1000)})
    assert new_id() < first_id_at(time.time() + 3600)


@pytest.mark.parametrize(
    "text",
    [
        "", "0197b0f0-0000-7000-8000-00000000000", "0197b0f0-0000-7000-8000-0000000000000",
        "0197b0f0000070008000000000000000", "{0197b0f0-0000-7000-8000-000000000000}",
        "urn:uuid:0197b0f0-0000-7000-8000-000000000000", "0197b0f0-0000-7000-8000-00000000000g",
    ],
)  # fmt: skip
def test_only_the_canonical_form_is_an_id(text: str) -> None:
    """36 characters with hyphens, and nothing else."""
    assert None is parse_id(text)


def test_a_canonical_id_is_read() -> None:
    """The id is parsed."""
    text = "0197b0f0-0000-7000-8000-000000000000"

    assert UUID(text) == parse_id(text)
