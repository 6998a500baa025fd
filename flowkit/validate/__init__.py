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
from flowkit.validate import (
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

__all__ = [
    "FINDINGS",
    "RULES",
    "UNDECIDED",
    "check_flow",
    "codes",
    "cost",
    "read_templates",
    "validate",
]

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


def validate(document: Any, *, templates: Any = None) -> list[Problem]:
    """Return what is wrong with a flow document, errors and warnings.

    Parameters
    ----------
    document : JSON data
        Anything; what is no flow gives problems too.
    templates : list, dict, str or path, optional
        The account's message templates as the Cloud API lists them, or the JSON file with them.
        Only with these can be told what is wrong with templates, and with marketing.

    Returns
    -------
    list of Problem
        Empty when the flow can be activated without a remark. Paths are JSON pointers into
        `document`. All that it can say is in `FINDINGS`.

    Raises
    ------
    Invalid
        When `templates` are none, or not all of them.
    """
    known = None if templates is None else read_templates(templates)
    try:
        flow = Flow.from_dict(document)
    except Invalid as error:
        return error.problems
    return check_flow(flow, known)


def check_flow(flow: Flow, templates: Templates | None = None) -> list[Problem]:
    """Return what is wrong with a flow that could be read."""
    subject = Subject(flow, templates)
    return [problem for rule in RULES for problem in rule(subject)]
