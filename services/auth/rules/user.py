"""Pure: what a user is: the one form of an e-mail address, the roles, the facts that others may be told."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from enum import StrEnum
from uuid import UUID

NAME_LENGTH_MAX = 100
EMAIL_LENGTH_MAX = 254
LOCAL_PART_LENGTH_MAX = 64
USER_AGENT_LENGTH_MAX = 120
REASON_LENGTH_MAX = 200
"""Why somebody was disabled."""

_ATOM = r"[a-z0-9!#$%&'*+/=?^_`{|}~-]+"
_LABEL = r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
# A dotted local part and a domain of at least two labels, the last of which is not a number. Quoted local parts,
# address literals and letters beyond ASCII (a Cyrillic letter that looks like "a") are nobody's address here.
_EMAIL = re.compile(rf"(?P<local>{_ATOM}(?:\.{_ATOM})*)@(?:{_LABEL}\.)+(?![0-9]+\Z){_LABEL}", re.ASCII)

# A name is shown to whoever pays it, stands in e-mails, and must read as it is written: no control characters, no line and
# paragraph separators, none of the marks that show nothing or make text run backwards. The two joiners are letters' own
# business in Persian, in scripts of India, and in emoji.
_UNPRINTABLE = frozenset(("Cc", "Cf", "Zl", "Zp"))
_JOINERS = "\u200c\u200d"

# Letters, figures, marks and symbols can be seen, but for these fillers.
_VISIBLE = frozenset("LNPS")
_FILLERS = "\u115f\u1160\u2800\u3164\uffa0"


class Role(StrEnum):
    """What somebody may do: use their own wallets, run the system, or action as another system."""

    USER = "user"
    OPERATOR = "operator"
    SERVICE = "service"


@dataclass(frozen=True, slots=True)
class User:
    """A registered person; `email` is normalised, and verified once a letter sent there came back.

    `totp` tells whether a second factor is on.
    """

    id: UUID
    email: str
    name: str
    role: Role
    email_verified: bool = False
    totp: bool = False


def normalise_email(text: str) -> str | None:
    """The one form in which an address is stored and compared, or None when the text is no address."""
    stripped = text.strip()
    # Before folding: the Kelvin sign folds to an ASCII "k" and would make two addresses one.
    if len(stripped) > EMAIL_LENGTH_MAX or not stripped.isascii():
        return None
    folded = stripped.casefold()
    match = _EMAIL.fullmatch(folded)
    if match is None or len(match["local"]) > LOCAL_PART_LENGTH_MAX:
        return None
    return folded


def is_printable(name: str) -> bool:
    """Whether a name, or another short text for people, reads as it is written, and shows anything at all."""
    kinds = {each: unicodedata.category(each) for each in name}
    return all(kind not in _UNPRINTABLE or each in _JOINERS for each, kind in kinds.items()) and any(
        kind[0] in _VISIBLE and each not in _FILLERS for each, kind in kinds.items()
    )
