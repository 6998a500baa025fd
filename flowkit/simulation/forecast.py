"""What a change of a deployed flow would make of its contacts: the simulation in a plan.

Owns whom and what behaviour it simulates: those that the service recorded last, as far as there
are any. Imports pandas, `backtesting`, `invented`, `history.frames`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from datetime import datetime
from typing import TYPE_CHECKING

import pandas as pd

from flowkit import history
from flowkit.engine import contact_identity
from flowkit.errors import ServiceError
from flowkit.flow import Flow
from flowkit.simulation.backtesting import compare, fitted
from flowkit.simulation.behaviour import Behaviour
from flowkit.simulation.comparison import Comparison
from flowkit.simulation.invented import invented
from flowkit.simulation.prices import Prices
from flowkit.wire import iso

if TYPE_CHECKING:
    from flowkit.client import Client

ENOUGH = 100
"""Recorded messages from which on a behaviour is fitted."""


def forecast(
    client: Client | None,
    deployed: Flow,
    flow: Flow,
    *,
    contacts: int,
    seed: int,
    at: datetime,
    behaviour: Behaviour | None = None,
    prices: Prices | None = None,
    flows: Iterable[Flow] = (),
) -> Comparison:
    """Return what two flows without errors make of the same contacts.

    Parameters
    ----------
    client : Client or None
        The service that has recorded triggers and node runs of `deployed`.
    deployed, flow : Flow
        The old and the new.
    contacts : int
        How many of the newest triggers are taken, or contacts made up where there is none.
    seed : int
        Another seed, other chances.
    at : datetime
        When the contacts that are made up are started; aware.
    behaviour : Behaviour, optional
        How channel and contacts behave; fitted from what is recorded without, if that is enough.
    prices : Prices, optional
        What messages cost.
    flows : iterable of Flow, optional
        Flows that the two run or start; what is not among them is taken from the service.
    """
    recorded = runs = None
    if client is not None and deployed.id is not None:
        recorded = client.triggers(deployed, limit=contacts)
        runs = client.node_runs(deployed, limit=contacts) if len(recorded) else None
    said = "behaviour as given"
    if behaviour is None:
        behaviour, said = fitted(runs, least=ENOUGH)
    who = "recorded triggers"
    made_up = recorded is None or recorded.empty
    if recorded is None or recorded.empty:
        recorded = _made_up(deployed, flow, contacts, seed, at)
        who = "contacts made up, since no trigger is recorded"
    return compare(
        deployed,
        flow,
        recorded,
        behaviour,
        about=f"simulated: {len(recorded)} {who}; seed {seed}; {said}",
        seed=seed,
        prices=prices,
        mapped=made_up,
        flows=[*flows, *_stored(client, [deployed, flow], flows)],
    )


def _stored(client: Client | None, asking: list[Flow], flows: Iterable[Flow]) -> list[Flow]:
    """Return the flows that some run or start, as far as the service has them published."""
    given = {flow.id for flow in flows}
    found: dict[tuple[str, int | None], Flow] = {}
    ahead = [*asking, *flows]
    while client is not None and ahead:
        flow = ahead.pop()
        for node in flow.nodes:
            asked = flow.behaviour(node.id).starts()
            if asked is None or asked in found or asked[0] in given:
                continue
            flow_id, version = asked
            try:
                other = (
                    client.flow(flow_id) if version is None else client.version(flow_id, version)
                )
            except ServiceError as error:
                if error.status != 404:
                    raise
                continue
            if version is not None or other.is_active:  # what is not active does not start
                found[asked] = other
                ahead.append(other)
    return list(found.values())


def _made_up(deployed: Flow, flow: Flow, size: int, seed: int, at: datetime) -> pd.DataFrame:
    """Return triggers that never were, with what both flows read."""
    return history.triggers(
        {
            "id": hashlib.blake2b(f"{seed}|{number}".encode(), digest_size=16).hexdigest(),
            "flowId": deployed.id or "simulated",
            "flowVersion": deployed.version,
            "triggerType": deployed.trigger_type,
            "contactId": contact_identity(contact),
            "createdAt": iso(at),
            "context": {"trigger": payload, "contact": contact},
        }
        for number, (contact, payload) in enumerate(invented((deployed, flow), size, seed, at))
    )
