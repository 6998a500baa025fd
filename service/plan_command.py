"""``flowkit plan``: tells what pushing flows would change, for people and for pipelines.

Owns what it prints and its exit status: 0 no change, 2 changes, 1 an error or a flow that could
not be active. May import flowkit.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import click

from flowkit.client import Client
from flowkit.errors import Invalid
from flowkit.flow import Flow
from flowkit.planning import plan

NO_CHANGE, ERROR, CHANGES = 0, 1, 2


def run(
    documents: Iterable[tuple[str, Any]],
    client: Client | None,
    against: Iterable[tuple[str, Any]] = (),
    *,
    contacts: int = 1_000,
    seed: int = 0,
    templates: Any = None,
) -> int:
    """Print the plan of each flow and return the exit status.

    Parameters
    ----------
    documents : iterable of (str, JSON data)
        Where each flow is from, and its document.
    client : Client or None
        The service that would be pushed to.
    against : iterable of (str, JSON data)
        Flows that stand for the deployed ones, found by id or else by name.
    contacts, seed : int
        For how many contacts changes are simulated, and by which chances.
    templates : optional
        The account's message templates, with which flows are validated.
    """
    flows = [_read(*item) for item in documents]
    stand_ins = [_read(*item) for item in against]
    statuses = [NO_CHANGE]
    for flow in flows:
        alike = _alike(flow, stand_ins)
        others = [other for other in flows if other.id is not None and other is not flow]
        found = plan(
            client,
            flow,
            deployed=alike,
            contacts=contacts,
            seed=seed,
            flows=others,
            templates=templates,
        )
        click.echo(str(found))
        statuses.append(ERROR if found.refused else CHANGES if found else NO_CHANGE)
    return ERROR if ERROR in statuses else max(statuses)


def _read(name: str, document: Any) -> Flow:
    try:
        return Flow.from_dict(document)
    except Invalid as error:
        click.echo(f"{name} holds no flow:", err=True)
        raise error


def _alike(flow: Flow, others: list[Flow]) -> Flow | None:
    same = [other for other in others if flow.id is not None and other.id == flow.id]
    return next(iter(same or [other for other in others if other.name == flow.name]), None)
