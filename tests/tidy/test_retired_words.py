"""Retired words stay away from source, SQL, pages and the OpenAPI document."""

from __future__ import annotations

import re
import subprocess

import pytest

from services.gateway import openapi
from services.gateway.api import OPERATIONS, reference
from tests.tidy import retired_words
from tests.tidy.retired_words import INSTEAD, PLAIN, ROOT, search


def test_no_retired_word_is_used() -> None:
    """The message names each use and what to write instead."""
    document = openapi.build((*OPERATIONS, *reference.HEALTH))
    uses = [*retired_words.search_files(), *retired_words.search_document(document)]

    assert [] == [str(use) for use in uses]


def test_no_retired_code_is_documented() -> None:
    """The catalogue of problems has the new codes."""
    codes = {each["code"] for each in openapi.catalogue((*OPERATIONS, *reference.HEALTH))}

    assert len(codes) > 50
    assert set() == codes & retired_words.RETIRED_CODES


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("class DeadLetterDesk:", ["desk"]),
        ("letter_token = 1", ["letter"]),
        ("GATEWAY_DOORS", ["doors"]),
        ("It waits for\n    # ever.", ["for ever"]),
        ("raise DatabaseAway", ["database away"]),
        ("a dead letter, deadLetters, dead_letter", []),
        ("capital letters; letters and digits", []),
        ("settlement of a merchant; twinkle; notice", []),
        ("indoors", []),
    ],
)
def test_words_are_found_in_prose_and_identifiers(text: str, words: list[str]) -> None:
    """In all ways of writing, also across lines; as whole words, and not in their plain sense."""
    assert [use.word for use in search("file", text)] == words


def test_a_use_names_its_line() -> None:
    """So that an editor can jump to it."""
    (use,) = search("docs/page.md", "one\n\nthree of somebody")

    assert str(use).startswith("docs/page.md:3: 'somebody'; instead: ")


def test_allowed_uses_are_needed() -> None:
    """Each allowed file and each plain sequence has a retired word in it."""
    retired = re.compile(r"\b(" + "|".join(word for words in INSTEAD for word in words.split(", ")) + r")\b")

    texts = {name: (ROOT / name).read_text() for name in retired_words.ALLOWED}

    assert [] == [name for name, text in texts.items() if not list(search(name, text))]
    assert [] == [sequence for sequence in PLAIN if not retired.search(sequence)]


def test_every_page_and_source_is_searched() -> None:
    """What is committed is searched, except data, the allowed files and revisions that may have run."""
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()
    searched = {path.relative_to(ROOT).as_posix() for path in retired_words.files()}
    left_out = [
        name
        for name in listed
        if (ROOT / name).is_file()
        and name not in searched
        and name not in retired_words.ALLOWED
        and not retired_words.is_old_revision(name)
    ]

    assert left_out == [".editorconfig", ".gitignore", "LICENSE", "deploy/image/uv.txt", "payflow/py.typed", "uv.lock"]
