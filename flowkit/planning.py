"""What a deployment would change, before it is made: `plan`.

Owns what is looked at and how it is told; asks a `Client`, changes nothing.
Imports `client`, `clock`, `diff`, `flow`, `validate`, `problems`; `simulation` when it simulates.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from flowkit.client import Client
from flowkit.clock import SystemClock
from flowkit.diff import Diff
from flowkit.errors import Invalid
from flowkit.flow import Flow
from flowkit.problems import Problem, errors

if TYPE_CHECKING:
    from flowkit.simulation import Behaviour, Comparison, Prices


@dataclass(frozen=True)
class Plan:
    """What becomes of things when a flow is pushed; true when anything changes.

    Parameters
    ----------
    flow : Flow
        What is to be pushed.
    deployed : Flow or None
        What it would replace; None when it is new.
    diff : Diff or None
        What differs from `deployed`.
    under_way : dict
        How many executions run, by version and status. They stay in their version to the end.
    findings : list of Problem
        What validation says of `flow` and did not say of `deployed`.
    refused : bool
        Whether `flow` has errors, so that it should not be active.
    outcomes : Comparison or None
        What both flows would make of the same contacts; None where that was not simulated.
    not_simulated : str
        Why not, where it was asked for.
    """

    flow: Flow
    deployed: Flow | None
    diff: Diff | None
    under_way: dict[int, dict[str, int]]
    findings: list[Problem]
    refused: bool
    outcomes: Comparison | None = None
    not_simulated: str = ""

    def __bool__(self) -> bool:
        return self.diff is None or bool(self.diff)

    def __str__(self) -> str:
        if self.deployed is None:
            lines = [f"{self.flow.name}: new, {len(self.flow.nodes)} nodes"]
        else:
            active = "active" if self.deployed.is_active else "not active"
            stored = f"deployed is version {self.deployed.version}, {active}"
            lines = [f"{self.flow.name}: {stored if self.deployed.version else 'never published'}"]
        if self.diff is not None:
            lines += [f"  {line}" for line in str(self.diff).splitlines()]
        for version, counts in sorted(self.under_way.items()):
            number = " and ".join(f"{count} {status}" for status, count in sorted(counts.items()))
            lines.append(f"  executions: {number} stay in version {version} until they end")
        lines += [f"  new finding: {problem}" for problem in self.findings]
        if self.outcomes is not None:
            lines += [f"  {line}" for line in str(self.outcomes).splitlines()]
        if self.not_simulated:
            lines.append(f"  not simulated: {self.not_simulated}")
        return "\n".join(lines)

    def _repr_html_(self) -> str | None:
        if self.outcomes is not None:
            return self.outcomes._repr_html_()
        return self.diff.to_svg() if self.diff else None


def plan(
    client: Client | None,
    flow: Flow,
    *,
    deployed: Flow | None = None,
    contacts: int = 1_000,
    seed: int = 0,
    at: datetime | None = None,
    behaviour: Behaviour | None = None,
    prices: Prices | None = None,
    flows: Sequence[Flow] = (),
    templates: Any = None,
) -> Plan:
    """Return what pushing `flow` would change. Nothing is stored.

    Parameters
    ----------
    client : Client or None
        The service at which the flow would be pushed; None looks at no service.
    flow : Flow
        What would be pushed.
    deployed : Flow, optional
        What it is compared with, instead of the flow that the service would replace.
    contacts : int, optional
        For how many contacts both flows are simulated, where they differ and neither has errors;
        0 simulates nothing. They are those of the newest triggers that the service has recorded;
        where there is none, they are made up, with the fields that the flows read.
    seed : int, optional
        Another seed, other chances.
    at : datetime, optional
        When contacts that are made up are started; aware. Now without.
    behaviour : Behaviour, optional
        How channel and contacts behave; without, fitted from what the service has recorded, if
        that is enough: 100 messages. Else every message is taken, and the plan says so.
    prices : Prices, optional
        What messages cost.
    flows : sequence of Flow, optional
        Flows that the two run or start, for the simulation; what is not among them is taken from
        the service.
    templates : list, dict, str or path, optional
        The account's message templates, with which both flows are validated; see `validate`.

    Raises
    ------
    ServiceError
        When the service cannot be asked.
    Invalid
        ``plan.contacts`` when they are fewer than 0, or what is wrong with the behaviour or the
        templates.
    """
    if contacts < 0:
        message = f"A plan simulates 0 contacts or more, not {contacts}."
        raise Invalid([Problem("plan.contacts", "/contacts", message)])
    if client is not None and deployed is None:
        deployed = client.deployed(flow)
    before = deployed.validate(templates=templates) if deployed is not None else []
    after = flow.validate(templates=templates)
    known = Counter(map(_finding, before))
    fresh = []
    for problem in after:
        if known[_finding(problem)]:
            known[_finding(problem)] -= 1
        else:
            fresh.append(problem)
    refused = bool(errors(after))
    if deployed is None:
        return Plan(flow, None, None, {}, fresh, refused)
    difference = deployed.diff(flow)
    outcomes, why_not = None, ""
    if contacts and difference:
        if errors(before + after):
            why_not = "a flow has errors"
        elif find_spec("pandas") is None:
            why_not = "that needs pandas: pip install 'flowkit[history]'"
        else:
            from flowkit.simulation.forecast import forecast

            try:
                outcomes = forecast(
                    client,
                    deployed,
                    flow,
                    contacts=contacts,
                    seed=seed,
                    at=at or SystemClock().now(),
                    behaviour=behaviour,
                    prices=prices,
                    flows=flows,
                )
            except Invalid as refusal:
                if not all(_of_others(problem) for problem in refusal.problems):
                    raise
                why_not = str(refusal)
    return Plan(
        flow,
        deployed,
        difference,
        {} if client is None or deployed.id is None else client.under_way(deployed),
        fresh,
        refused,
        outcomes,
        why_not,
    )


def _of_others(problem: Problem) -> bool:
    """Return whether a problem is that of flows that a flow runs or starts, or of their absence."""
    return problem.code == "simulate.subflow" or problem.path.startswith("/flows/")


def _finding(problem: Problem) -> tuple[str, str]:
    # Not the path: it moves with the nodes before it.
    return problem.code, problem.message
