"""The statement that lists the transfers of one wallet names every kind and status that there is."""

from __future__ import annotations

import re
from typing import get_args

from services.gateway.schemas.transfers import TransferKind
from services.transaction.store import statements
from services.transaction.transfer import COMPLETED, FAILED, PENDING


def test_every_kind_and_status_is_listed() -> None:
    """A kind that the statement does not name would be missing from the list of a wallet."""
    statuses, kinds = [
        set(re.findall(r"'(\w+)'", array))
        for array in re.findall(r"unnest\(ARRAY\[(.*?)\]\)", statements.list_transfers_of_wallet)
    ]

    assert {PENDING, COMPLETED, FAILED} == statuses
    assert set(get_args(TransferKind)) == kinds
