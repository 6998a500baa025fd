"""What a simulation is to do, and what came of it.

Owns the records that processes hand each other, and the ids of executions. May import `execution`,
`flow`, `starting`, and `behaviour`, `channel`, `rows` beside it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from flowkit.flow import Flow
from flowkit.simulation.behaviour import Behaviour
from flowkit.simulation.channel import Channel
from flowkit.simulation.rows import Group, Heads
from flowkit.starting import Started


class Start(NamedTuple):
    """How an execution is started: at a moment in ms, for a contact unless the payload says."""

    execution_id: str
    at: int
    payload: Any
    contact: dict[str, Any] | None


@dataclass(frozen=True, slots=True)
class Plan:
    """A simulation, or the part of it that one process does.

    `contacts` are those numbered from `first` on, of `total`; `recorded` are their starts, where
    these do not follow from `at`, `over` and `payload`. `started` are the flows that nodes start.
    """

    flow: Flow
    started: Started
    contacts: Sequence[dict[str, Any]]
    behaviour: Behaviour
    at: int
    over: int
    until: int | None
    seed: int
    channel: Channel | None
    share: bool
    payload: Callable[[dict[str, Any]], Any] | None
    eventful: bool
    tied: bool
    first: int
    total: int
    recorded: Sequence[Start] | None = None

    def start(self, number: int) -> Start:
        """Return how the execution of a contact is started."""
        if self.recorded is not None:
            return self.recorded[number - self.first]
        contact = self.contacts[number - self.first]
        return Start(
            execution_id(f"{self.at:012x}", self.seed, number),
            self.at + (self.over * number // self.total if self.over else 0),
            {"contact": contact} if self.payload is None else self.payload(contact),
            contact,
        )


@dataclass(slots=True)
class Part:
    """What came of a plan: courses, what tells its executions apart, and who did not start.

    `rows` are the numbers of the contacts whose executions are in `heads`, among all; `fates`
    what became of messages, by key and attempt, where it was settled while they were sent;
    `contexts` are those of executions that were started by something else than the plan. `others`
    are what came of the other flows that nodes started, by their ids.
    """

    groups: list[Group] = field(default_factory=list)
    heads: Heads = field(default_factory=Heads)
    rows: list[int] = field(default_factory=list)
    turned_away: int = 0
    refused: int = 0
    fates: dict[tuple[str, int], tuple[int | None, ...]] = field(default_factory=dict)
    contexts: dict[str, dict[str, Any]] = field(default_factory=dict)
    others: dict[str, Part] = field(default_factory=dict)


def execution_id(moment: str, seed: int, number: int) -> str:
    """Return an id such as `flowkit.execution.new_id` makes, but always the same one."""
    return moment + hashlib.blake2b(f"{seed}|{number}".encode(), digest_size=10).hexdigest()
