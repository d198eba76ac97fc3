"""What goes wrong in a way the person at the terminal can do something about."""

from __future__ import annotations


class Trouble(Exception):  # noqa: N818 - the word a person reads, not a fault of the code
    """A start that cannot go on; its text is one line that says what to do."""
