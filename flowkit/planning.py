"""What a deployment would change, before it is made: `plan`.

Owns what is looked at and how it is told; asks a `Client`, changes nothing.
Imports `client`, `diff`, `flow`, `validate`, `problems`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from flowkit.client import Client
from flowkit.diff import Diff
from flowkit.flow import Flow
from flowkit.problems import Problem, errors


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
    outcomes : object
        What `simulate` returned; None without.
    """

    flow: Flow
    deployed: Flow | None
    diff: Diff | None
    under_way: dict[int, dict[str, int]]
    findings: list[Problem]
    outcomes: Any = None

    def __bool__(self) -> bool:
        return self.diff is None or bool(self.diff)

    @property
    def refused(self) -> bool:
        """Whether the flow has errors, so that it cannot be active."""
        return bool(errors(self.flow.validate()))

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
        return "\n".join(lines)

    def _repr_html_(self) -> str | None:
        return self.diff.to_svg() if self.diff else None


def plan(
    client: Client | None,
    flow: Flow,
    *,
    deployed: Flow | None = None,
    simulate: Callable[[Flow, Flow], Any] | None = None,
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
    simulate : callable, optional
        Compares the outcomes of the deployed flow and of `flow`, which it is given when both are
        valid; what it returns is shown as text.

    Raises
    ------
    ServiceError
        When the service cannot be asked.
    """
    if client is not None and deployed is None:
        deployed = client.deployed(flow)
    before = deployed.validate() if deployed is not None else []
    after = flow.validate()
    known = Counter(map(_finding, before))
    fresh = []
    for problem in after:
        if known[_finding(problem)]:
            known[_finding(problem)] -= 1
        else:
            fresh.append(problem)
    if deployed is None:
        return Plan(flow, None, None, {}, fresh)
    return Plan(
        flow,
        deployed,
        deployed.diff(flow),
        {} if client is None or deployed.id is None else client.under_way(deployed),
        fresh,
        None if simulate is None or errors(before + after) else simulate(deployed, flow),
    )


def _finding(problem: Problem) -> tuple[str, str]:
    # Not the path: it moves with the nodes before it.
    return problem.code, problem.message
