"""When the nodes of a flow can run: one record for each node. Imports `moments`, `window`."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

from flowkit.validate.moments import at_least, bounded, moments
from flowkit.validate.subject import Subject
from flowkit.validate.window import Verdict, verdict

if TYPE_CHECKING:
    from flowkit.flow import Flow


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """When a node can be entered; rows of ``pandas.DataFrame(flow.timing())``.

    Attributes
    ----------
    node_id, type : str
    earliest, latest : timedelta
        After the execution's start. A `latest` of None has no bound.
    window : {"open", "may be closed", "closed"}
        WhatsApp's service window then, by the messages of which the flow knows.
    """

    node_id: str
    type: str
    earliest: timedelta
    latest: timedelta | None
    window: Verdict


def timing(flow: Flow) -> list[Timing]:
    """Return when each node that can be reached is entered, each after those that lead to it."""
    subject = Subject(flow)
    found = subject.once(moments)
    return [
        Timing(
            node_id=flow.nodes[node].id,
            type=flow.nodes[node].type,
            earliest=at_least(moment.start.least),
            latest=bounded(moment.start.most),
            window=verdict(moment, subject.held(node)),
        )
        for node in subject.order
        if (moment := found[node]) is not None
    ]
