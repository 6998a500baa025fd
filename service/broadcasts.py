"""How a stored broadcast is changed while others change it too.

May import `flowkit` and `service.store.base`.
"""

from __future__ import annotations

from collections.abc import Callable

from flowkit.broadcast import Broadcast
from flowkit.errors import Conflict
from service.store.base import Store

DECISIONS = 20
"""How often a change is decided anew when the broadcast changes at the same time."""


def change(
    store: Store, broadcast_id: str, decide: Callable[[Broadcast], Broadcast | None]
) -> Broadcast:
    """Store what `decide` makes of a broadcast, and return it; None leaves it as it is.

    Raises
    ------
    NotFound, Conflict
        There is none, `decide` refuses its status, or it keeps changing.
    """
    for _ in range(DECISIONS):
        found = store.get_broadcast(broadcast_id)
        changed = decide(found)
        if changed is None:
            return found
        try:
            store.replace_broadcast(changed)
        except Conflict:
            continue
        return changed
    raise Conflict(f"broadcast {broadcast_id} keeps changing; try again")
