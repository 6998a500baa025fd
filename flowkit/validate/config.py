"""Rules about what a flow and each of its nodes say. Imports `subject`, `options`, `build`."""

from __future__ import annotations

from collections.abc import Iterator

from flowkit.build import check_name, check_node_id, check_trigger_type
from flowkit.options import check_options
from flowkit.problems import Problem, pointer
from flowkit.validate.subject import Subject


def named(subject: Subject) -> Iterator[Problem]:
    """Require a name and a trigger type."""
    yield from check_name(subject.flow.name)
    yield from check_trigger_type(subject.flow.trigger_type)


def settings(subject: Subject) -> Iterator[Problem]:
    """Require settings that can be read; unknown ones are warned of."""
    yield from check_options(subject.flow.settings)


def node_ids(subject: Subject) -> Iterator[Problem]:
    """Require well-formed ids of nodes, each used once."""
    for index, node in enumerate(subject.flow.nodes):
        path = pointer("nodes", index, "id")
        yield from check_node_id(node.id, path)
        if subject.index_of[node.id] != index:
            message = f"There is another node {node.id!r}; ids are unique in a flow."
            yield Problem("node.duplicate_id", path, message)


def positions(subject: Subject) -> Iterator[Problem]:
    """Require numbers where a node has a position."""
    for index, node in enumerate(subject.flow.nodes):
        for axis in ("x", "y") if node.position is not None else ():
            value = node.position.get(axis) if node.position else None
            if isinstance(value, bool) or not isinstance(value, (int, float)):
                path = pointer("nodes", index, "position", axis)
                message = f"A position has a number as {axis}."
                yield Problem("node.position", path, message)


def categories(subject: Subject) -> Iterator[Problem]:
    """Warn where a document's category is not its type's and was therefore replaced."""
    for index, node in enumerate(subject.flow.nodes):
        if node.given_category not in (None, node.category):
            yield Problem(
                "node.category",
                pointer("nodes", index, "category"),
                f"The category follows from the type: {node.type} is {node.category}. "
                "What was given is replaced.",
                "warning",
            )


def configs(subject: Subject) -> Iterator[Problem]:
    """Require node types that exist, and configs that they accept."""
    yield from subject.config_problems
