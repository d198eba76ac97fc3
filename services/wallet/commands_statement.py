"""The statement of a wallet, from the primary or from a standby that is near enough."""

from __future__ import annotations

from uuid import UUID

from services.chassis import finality, replica
from services.chassis.database import Connection
from services.chassis.period import Period
from services.chassis.replica import Reader
from services.wallet import store
from services.wallet.store import Line


async def list_statement(
    reader: Reader, wallet_id: UUID, *, below: int | None, period: Period, limit: int
) -> list[Line]:
    """A page of the statement, newest first: the entries of a period with a seq less than `below` (None: all).

    A period that has ended is final. Later pages are final in any case: below a visible entry there is no gap. The same holds
    on a standby: it is used only if it has the whole period, and the entry after which the page begins.

    Raises:
        MomentNotFinal: an open transaction may still write an entry of the period.
    """
    position = 0
    if period.until and below is None:
        await finality.wait_for_period(reader.primary, period.until)
        position = await replica.read_position(reader.primary)
    first = store.SEQ_MAX if below is None else below

    async def read(connection: Connection) -> list[Line]:
        above = await store.last_seq_before(connection, wallet_id, period.since) if period.since else 0
        up_to = await store.last_seq_before(connection, wallet_id, period.until) if period.until else first
        return await store.list_entries(connection, wallet_id, below=first, above=above, up_to=up_to, limit=limit)

    async def has_next(connection: Connection) -> bool:
        if below is None or below <= 1:
            return True
        return bool(await store.list_entries(connection, wallet_id, below=below, above=below - 2, up_to=below, limit=1))

    return await reader.read(read, at_least=position, is_complete=has_next)
