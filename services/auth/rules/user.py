"""Pure: users, their roles, and the normal form of e-mail addresses."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from enum import StrEnum
from uuid import UUID

from services.contracts import limits

LOCAL_PART_LENGTH_MAX = 64
_ATOM = r"[a-z0-9!#$%&'*+/=?^_`{|}~-]+"
_LABEL = r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
# A dotted local part and a domain of at least two labels, the last of which is not a number. Quoted local parts,
# address literals and non-ASCII characters (a Cyrillic one that looks like "a") are rejected.
_EMAIL = re.compile(rf"(?P<local>{_ATOM}(?:\.{_ATOM})*)@(?:{_LABEL}\.)+(?![0-9]+\Z){_LABEL}", re.ASCII)

# A name is shown to payers and in e-mails, and must be shown as it is stored: no control characters, no line and paragraph
# separators, no invisible marks, no marks that reverse text. The two joiners are needed in Persian, in Indic scripts and in
# emoji.
_UNPRINTABLE = frozenset(("Cc", "Cf", "Zl", "Zp"))
_JOINERS = "\u200c\u200d"

# Alphabetic characters, digits, marks, symbols and punctuation are visible, except for these fillers.
_VISIBLE = frozenset("LNPS")
_FILLERS = "\u115f\u1160\u2800\u3164\uffa0"


class Role(StrEnum):
    """What a user can do: use their own wallets, operate the system, or act as another system."""

    USER = "user"
    OPERATOR = "operator"
    SERVICE = "service"


@dataclass(frozen=True, slots=True)
class User:
    """A registered user; `email` is normalised, and verified once the token of an e-mail was used.

    `totp` is whether a second factor is enabled.
    """

    id: UUID
    email: str
    name: str
    role: Role
    email_verified: bool = False
    totp: bool = False


def normalise_email(text: str) -> str | None:
    """The form in which an address is stored and compared; None if the text is not an address."""
    stripped = text.strip()
    # Before folding: the Kelvin sign folds to an ASCII "k", which would make two addresses equal.
    if len(stripped) > limits.EMAIL_LENGTH_MAX or not stripped.isascii():
        return None
    folded = stripped.casefold()
    match = _EMAIL.fullmatch(folded)
    if match is None or len(match["local"]) > LOCAL_PART_LENGTH_MAX:
        return None
    return folded


def is_printable(name: str) -> bool:
    """Whether a name or another short text has only allowed characters, and at least one visible one."""
    kinds = {each: unicodedata.category(each) for each in name}
    return all(kind not in _UNPRINTABLE or each in _JOINERS for each, kind in kinds.items()) and any(
        kind[0] in _VISIBLE and each not in _FILLERS for each, kind in kinds.items()
    )
