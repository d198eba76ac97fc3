"""Request bodies are parsed strictly, by whichever decoder."""

from __future__ import annotations

import json
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.chassis import body
from services.chassis.body import MalformedJson

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
VALUES: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats(allow_nan=False, allow_infinity=False) | TEXTS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4),
    max_leaves=10,
)
FORMS = (
    lambda value: json.dumps(value).encode(),
    lambda value: json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode(),
    lambda value: json.dumps(value, indent=1).encode(),
)


@given(VALUES, st.sampled_from(FORMS))
def test_every_form_of_a_value_is_read_alike(value: Any, form: Any) -> None:
    """Compact or not, escaped or not: the value that was encoded is read, with the same types."""
    read = body.parse(form(value))

    assert (value, repr(value)) == (read, repr(read))


@given(st.dictionaries(st.text("ab\\", max_size=2), st.integers(0, 9), min_size=1, max_size=3), st.data())
def test_ambiguous_bodies_are_refused(members: dict[str, int], data: st.DataObject) -> None:
    """A body that has a key twice is refused, however compact it is."""
    twice = data.draw(st.sampled_from(sorted(members)))
    pairs = [*members.items(), (twice, 10)]
    text = ",".join(f"{json.dumps(name)}:{value}" for name, value in pairs)

    with pytest.raises(MalformedJson):
        body.parse(f"{{{text}}}".encode())


@pytest.mark.parametrize("text", ["1" * 101, "NaN", "-Infinity", "[" * 300 + "]" * 300, '{"a":{"b":1,"b":1}}', ""])
def test_other_decoders_differ(text: str) -> None:
    """What decoders read differently or limit differently is refused."""
    with pytest.raises(MalformedJson):
        body.parse(text.encode())


def test_integers_beyond_64_bits_are_exact() -> None:
    """The fast decoder reads them as floating-point numbers, so it is not used for them."""
    assert isinstance(orjson.loads(b"18446744073709551617"), float)
    assert 2**64 + 1 == body.parse(b"18446744073709551617")
