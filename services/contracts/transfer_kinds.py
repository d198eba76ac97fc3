"""The kinds of transfer and what each means to the services. A new kind is a row here, and a migration of its constraint."""

from __future__ import annotations

from enum import Enum
from typing import NamedTuple


class Source(Enum):
    """Where the money comes from."""

    WALLET = "wallet"
    EXTERNAL_ACCOUNT = "external_account"


class Kind(NamedTuple):
    """A kind of transfer."""

    name: str
    source: Source

    checks_funds: bool
    """Refuse at acceptance what the source clearly cannot afford."""

    requires_owner: bool
    """Only the owner of the source may send from it."""

    is_audited: bool
    """Acceptance is an action of an operator and is written to the audit log."""

    notifies_sender: bool
    """The sender is notified of the outcome; the recipient of a completed transfer always is."""


TRANSFER = Kind(
    "transfer",
    source=Source.WALLET,
    checks_funds=True,
    requires_owner=True,
    is_audited=False,
    notifies_sender=True,
)
DEPOSIT = Kind(
    "deposit",
    source=Source.EXTERNAL_ACCOUNT,
    checks_funds=False,
    requires_owner=False,
    is_audited=True,
    notifies_sender=False,
)
KINDS = {kind.name: kind for kind in (TRANSFER, DEPOSIT)}
