"""What is wrong with a flow, and what to do about it.

`validate` takes any JSON document and never raises; each rule is a small function from a
`Subject` to problems. A new rule is a function in a module of this package and a name in `RULES`.
Imports `flow`, `errors`, `problems` and its own modules.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from flowkit.errors import Invalid
from flowkit.flow import Flow
from flowkit.problems import Problem
from flowkit.validate import calls, config, decisions, graph, joins, references, window
from flowkit.validate.subject import Subject

RULES: tuple[Callable[[Subject], Iterable[Problem]], ...] = (
    config.named,
    config.settings,
    config.node_ids,
    config.positions,
    config.categories,
    config.configs,
    graph.ends,
    graph.edges,
    graph.handles,
    graph.reachable,
    graph.able_to_end,
    graph.acyclic,
    joins.one_join_a_fork,
    joins.loops,
    calls.no_recursion,
    graph.convergence,
    decisions.ways_that_are_never_taken,
    references.what_is_never_set,
    window.free_messages,
)
"""Every rule, in the order of its problems."""


def validate(document: Any) -> list[Problem]:
    """Return what is wrong with a flow document, errors and warnings.

    Parameters
    ----------
    document : JSON data
        Anything; what is no flow gives problems too.

    Returns
    -------
    list of Problem
        Empty when the flow can be activated without a remark. Paths are JSON pointers into
        `document`.
    """
    try:
        flow = Flow.from_dict(document)
    except Invalid as error:
        return error.problems
    return check_flow(flow)


def check_flow(flow: Flow) -> list[Problem]:
    """Return what is wrong with a flow that could be read."""
    subject = Subject(flow)
    return [problem for rule in RULES for problem in rule(subject)]
