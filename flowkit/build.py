"""The fluent building of flows: one method per node type, each returning a new flow.

Owns the mixin `Fluent` that gives `Flow` its methods. A flow under construction has *open ends*:
the ways out from which the next step goes on. Imports `nodetype`, `fields`, `graph`, `errors`,
`problems`.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple, NoReturn, Self

from flowkit.calling import branch_keywords, signature
from flowkit.errors import Invalid
from flowkit.fields import specs, unparse
from flowkit.graph import Edge, Node
from flowkit.nodetype import (
    NodeType,
    describe,
    example,
    node_types,
    with_verb,
)
from flowkit.problems import Problem

NODE_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")
TRIGGER_TYPE = re.compile(r"[A-Za-z0-9_.-]{1,128}")
_VISIT = re.compile(r".*_v[0-9]+", re.DOTALL)


def is_node_id(value: str) -> bool:
    """Return whether `value` can be a node id; ``_v2`` and the like end the keys of visits."""
    return bool(NODE_ID.fullmatch(value)) and not _VISIT.fullmatch(value)


class OpenEnd(NamedTuple):
    """A way out that nothing follows yet."""

    node_id: str
    handle: str | None
    label: str | None = None


class Fluent:
    """The building methods of `Flow`.

    Besides those defined here there is one method for each node type that has a verb, such as
    ``send``, ``delay`` and ``when``; its arguments are the node type's fields.
    """

    nodes: tuple[Node, ...]
    edges: tuple[Edge, ...]

    @property
    def open_ends(self) -> tuple[OpenEnd, ...]:
        """The ways out from which the next step goes on."""
        raise NotImplementedError

    def _grown(self, nodes: Iterable[Node], edges: Iterable[Edge], ends: Iterable[OpenEnd]) -> Self:
        """Return the flow with more nodes and edges, and with other open ends."""
        raise NotImplementedError

    def then(
        self,
        node: NodeType,
        *,
        id: str | None = None,
        on: Mapping[str, Callable[[Self], Self] | None] | None = None,
    ) -> Self:
        """Return the flow with `node` after every open end.

        Parameters
        ----------
        node : NodeType
            What comes next.
        id : str, optional
            The node's id; without it the type and a number, such as ``send_message_2``.
        on : mapping, optional
            For a handle's id, a function that builds what follows it. Handles without one stay
            open for the next step, or lead to END where the node type says so.

        Raises
        ------
        Invalid
            When the flow has ended or `id` cannot be used.
        """
        ends = self._ends_for(node.type)
        node_id = self._new_id(node.type, id)
        handles = node.outputs()
        branches = dict(on or {})
        unknown = set(branches) - {handle.id for handle in handles}
        if unknown:
            _refuse("build.handle", f"{node.type} has no handle {', '.join(sorted(unknown))}.")
        made = Node(node_id, node.type, config=unparse(node))
        if not node.executed:
            return self._grown([made], [], ends)
        flow = self._grown([made], _edges(ends, node_id), [])
        open_ends: list[OpenEnd] = []
        for handle in handles:
            start = OpenEnd(node_id, handle.id, handle.label or None)
            branch = branches.get(handle.id) if handle.id is not None else None
            if branch is None and handle.ends:
                branch = type(self).end
            if branch is not None:
                flow = flow._branched(branch, [start])
                if handle.back:
                    flow = flow._grown([], _edges(flow.open_ends, node_id), [])
                open_ends += flow.open_ends
            elif handle.required:
                open_ends.append(start)
        return flow._grown([], [], open_ends)

    def parallel(self, *branches: Callable[[Self], Self]) -> Self:
        """Return the flow forked: every branch starts where the flow stood, and all run at once.

        Parameters
        ----------
        *branches : callable
            Each takes the flow and returns it with its steps added. The branches meet in the
            next step; END is the place made for that.
        """
        ends = self._ends_for("parallel")
        if not branches:
            _refuse("build.branch", "parallel() needs branches, such as lambda b: b.send(...).")
        flow, open_ends = self, list[OpenEnd]()
        for branch in branches:
            flow = flow._branched(branch, ends)
            open_ends += flow.open_ends
        return flow._grown([], [], open_ends)

    def end(self, *, id: str | None = None) -> Self:
        """Return the flow with every open end led to END.

        Parameters
        ----------
        id : str, optional
            Id of an END of its own; without it the flow's one END is used.
        """
        ends = self._ends_for("END")
        present = next((node.id for node in self.nodes if node.type == "END"), None)
        if present is not None and id is None:
            there = {(e.source, e.source_handle) for e in self.edges if e.target == present}
            new = [end for end in ends if (end.node_id, end.handle) not in there]
            return self._grown([], _edges(new, present), [])
        end_id = self._new_id("END", id)
        return self._grown([Node(end_id, "END")], _edges(ends, end_id), [])

    def __getattr__(self, name: str) -> Callable[..., Self]:
        # Only reached for names that are not defined: the verbs of node types.
        if name.startswith("_"):
            raise AttributeError(name)
        cls = with_verb(name)
        if cls is None:
            verbs = [known.verb for known in node_types().values() if known.verb]
            verbs += ["then", "parallel", "end"]
            import difflib

            close = difflib.get_close_matches(name, verbs, 1)
            hint = f"did you mean {close[0]!r}?" if close else f"steps are {', '.join(verbs)}"
            raise AttributeError(f"a flow has no {name!r}; {hint}")
        return self._verb(name, cls)

    def __dir__(self) -> list[str]:
        verbs = (cls.verb for cls in node_types().values())
        return sorted({*super().__dir__(), *(verb for verb in verbs if verb)})

    def _verb(self, name: str, cls: type[NodeType]) -> Callable[..., Self]:
        shape = signature(cls)
        ways = branch_keywords(cls)

        def step(*args: Any, **kwargs: Any) -> Any:
            try:
                shape.bind(*args, **kwargs)
            except TypeError as error:
                takes = ", ".join(shape.parameters)
                raise TypeError(f"{name}() {error}; it takes {takes}") from None
            node_id = kwargs.pop("id", None)
            on = {handle: kwargs.pop(word, None) for word, handle in ways.items()}
            on = {handle: way for handle, way in on.items() if way is not None}
            on |= kwargs.pop("on", None) or {}
            return self.then(cls.from_call(*args, **kwargs), id=node_id, on=on)

        step.__name__ = step.__qualname__ = name
        step.__doc__ = _doc(cls)
        step.__signature__ = shape  # type: ignore[attr-defined]
        return step

    def _ends_for(self, what: str) -> tuple[OpenEnd, ...]:
        ends = self.open_ends
        if not ends:
            _refuse(
                "build.ended", f"{what} has nothing to follow: every way of the flow has ended."
            )
        return ends

    def _new_id(self, type_name: str, given: str | None) -> str:
        taken = {node.id for node in self.nodes}
        if given is not None:
            found = check_node_id(given)
            if found:
                raise Invalid(found)
            if given in taken:
                _refuse("node.duplicate_id", f"There is a node {given!r} already.")
            return given
        stem = type_name.lower()[:56]
        number = 1 + sum(node.type == type_name for node in self.nodes)
        while f"{stem}_{number}" in taken:
            number += 1
        return f"{stem}_{number}"

    def _branched(self, branch: Callable[[Self], Self], ends: Iterable[OpenEnd]) -> Self:
        """Return the flow after `branch` has built on from `ends`."""
        if not callable(branch):
            _refuse(
                "build.branch",
                f"A branch is a function such as lambda b: b.send(...), not {branch!r}.",
            )
        grown = branch(self._grown([], [], ends))
        # What was there must be there still: the branch has to build on what it was given.
        kept = isinstance(grown, Fluent) and len(grown.nodes) >= len(self.nodes)
        if not kept or any(
            mine is not theirs for mine, theirs in zip(self.nodes, grown.nodes, strict=False)
        ):
            _refuse(
                "build.branch",
                "A branch must return what it was given with steps added, such as "
                "lambda b: b.send(...).",
            )
        return grown


NODE_ID_RULE = (
    "use 1 to 64 of A-Z a-z 0-9 _ -, and do not end it in _v and digits, which mark visits."
)


def check_node_id(value: Any, path: str = "") -> list[Problem]:
    """Return what is wrong with a node's id."""
    if isinstance(value, str) and is_node_id(value):
        return []
    return [Problem("node.id", path, f"{value!r} is no node id: {NODE_ID_RULE}")]


def _edges(ends: Iterable[OpenEnd], target: str) -> list[Edge]:
    return [
        Edge(
            id=f"{end.node_id}{'.' + end.handle if end.handle is not None else ''}>{target}",
            source=end.node_id,
            target=target,
            source_handle=end.handle,
            label=end.label,
        )
        for end in dict.fromkeys(ends)
    ]


def _doc(cls: type[NodeType]) -> str:
    lines = [describe(cls)["description"], "", "Parameters", "----------"]
    helps = {spec.name: spec.help for spec in specs(cls)}
    for name in signature(cls).parameters:
        lines += [name, f"    {helps.get(name, '')}".rstrip()]
    if shown := example(cls):
        lines += ["", "Examples", "--------", shown]
    return inspect.cleandoc("\n".join(lines))


def _refuse(code: str, message: str) -> NoReturn:
    raise Invalid([Problem(code, "", message)])


def check_name(name: Any) -> list[Problem]:
    """Return what is wrong with a flow's name."""
    if isinstance(name, str) and name.strip():
        return []
    return [Problem("flow.name", "/name", "A flow needs a name.")]


def check_trigger_type(trigger_type: Any) -> list[Problem]:
    """Return what is wrong with a trigger type."""
    if isinstance(trigger_type, str) and TRIGGER_TYPE.fullmatch(trigger_type):
        return []
    message = "A trigger type is 1 to 128 of A-Z a-z 0-9 _ . - such as cart_abandoned."
    return [Problem("flow.trigger_type", "/triggerType", message)]
