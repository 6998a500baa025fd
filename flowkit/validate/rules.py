"""Every rule of validation, and with them all that it can say.

A new rule is a function in a module of this package and a name in `RULES`. Imports the modules
that have the rules, and with them the node types.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from flowkit.flow import Flow
from flowkit.problems import Problem
from flowkit.validate import (
    calls,
    codes,
    config,
    consent,
    cost,
    decisions,
    graph,
    inputs,
    joins,
    lengths,
    pace,
    references,
    templates,
    window,
    wording,
)
from flowkit.validate.finding import FINDINGS, UNDECIDED
from flowkit.validate.snapshot import Templates, read_templates
from flowkit.validate.subject import Subject

__all__ = ["FINDINGS", "RULES", "UNDECIDED", "check_flow", "codes", "cost", "read_templates"]

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
    templates.account,
    templates.values,
    consent.opt_in,
    consent.opt_out,
    consent.us_numbers,
    wording.categories,
    wording.questions,
    lengths.unbounded,
    pace.frequency,
    pace.pairs,
    pace.bursts,
    inputs.receipts,
    inputs.identity,
)
"""Every rule, in the order of its problems."""


def check_flow(flow: Flow, templates: Templates | None = None) -> list[Problem]:
    """Return what is wrong with a flow that could be read."""
    subject = Subject(flow, templates)
    return [problem for rule in RULES for problem in rule(subject)]
