"""Rules about the flows that a flow runs and waits for. Imports `subject`, `nodes`, `problems`.

A version is published when those that it runs are published already, and never changes then. So
versions cannot run each other in a circle, as long as none runs its own flow.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from flowkit.flow import Flow
from flowkit.nodes.flows import Subflow
from flowkit.problems import Problem, pointer
from flowkit.validate.subject import Subject


def no_recursion(subject: Subject) -> Iterator[Problem]:
    """Refuse a flow that runs itself."""
    for index, made in enumerate(subject.made):
        if isinstance(made, Subflow) and made.flow_id == subject.flow.id:
            yield Problem(
                "subflow.recursion",
                pointer("nodes", index, "config", "flowId"),
                f"{subject.show(index)} runs flow {made.flow_id}, which is this one: it would wait "
                "for itself. Go round with REPEAT, or start it anew with START_FLOW.",
            )


def unknown_versions(flow: Flow, known: Callable[[str, int], bool]) -> list[Problem]:
    """Return which of the versions that a flow runs are not published.

    Parameters
    ----------
    flow : Flow
        With errors or without.
    known : callable
        Whether a flow has a published version of that number.
    """
    return [
        Problem(
            "subflow.unknown_version",
            pointer("nodes", index, "config", "version"),
            f"Flow {made.flow_id} has no published version {made.version}; publish it first.",
        )
        for index, made in enumerate(Subject(flow).made)
        if isinstance(made, Subflow) and not known(made.flow_id, made.version)
    ]
