"""Every place that names the kinds of transfer names those of the table."""

from __future__ import annotations

import re
from pathlib import Path
from typing import get_args

from services.contracts.transfer_kinds import KINDS
from services.gateway.schemas.transfers import TransferKind
from services.transaction import schemas
from services.transaction.store import statements
from services.transaction.transfer import COMPLETED, FAILED, PENDING

SCHEMA = Path(schemas.__file__).parent / "sql" / "schema.sql"


def test_database_accepts_every_kind() -> None:
    """The constraint of the table of transfers names the same kinds."""
    [constraint] = re.findall(r"CONSTRAINT transfers_kind_check (.*)", SCHEMA.read_text())

    assert set(KINDS) == set(re.findall(r"'(\w+)'", constraint))


def test_routes_accept_every_kind() -> None:
    """The public and the internal filter name the same kinds, and so does a request from the gateway."""
    kinds = schemas.TransferItem.model_fields["kind"].annotation
    [listed, _] = get_args(schemas.ListQuery.model_fields["kind"].annotation)

    assert [set(KINDS)] * 3 == [set(get_args(one)) for one in (TransferKind, kinds, listed)]


def test_list_of_a_wallet_names_every_kind_and_status() -> None:
    """A kind that the statement does not name would be missing from the list of a wallet."""
    statuses, kinds = [
        set(re.findall(r"'(\w+)'", array))
        for array in re.findall(r"unnest\(ARRAY\[(.*?)\]\)", statements.list_transfers_of_wallet)
    ]

    assert ({PENDING, COMPLETED, FAILED}, set(KINDS)) == (statuses, kinds)
