"""Remembering contacts: beside what starts for them, never in its way.

May import `flowkit` and `service.store.base`.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence

from flowkit.contacts import contacts_of
from flowkit.execution import Execution
from service.store.base import Store

log = logging.getLogger(__name__)


def remember(store: Store, executions: Sequence[Execution]) -> None:
    """Save the contacts of executions that are stored; a failure is logged and nothing more."""
    contacts = contacts_of(executions)
    if not contacts:
        return
    try:
        store.save_contacts(contacts)
    except Exception as error:
        log.warning("%d contacts were not saved (%s); executions go on", len(contacts), error)
