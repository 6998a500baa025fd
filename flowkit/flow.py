"""`Flow`: the definition of an automation, as an immutable value.

Owns the record, its JSON in and out, the fluent start, and the look-ups that the engine makes for
every node. Imports `build`, `graph`, `judging`, `layout`, `nodetype`, `shape`, `errors`,
`problems`; `trial`, `source`, `view`, `diff` and `picture` only when asked.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from datetime import datetime
from functools import cached_property
from typing import TYPE_CHECKING, Any, Self

from flowkit.build import Fluent, OpenEnd, check_name, check_node_id, check_trigger_type
from flowkit.errors import Invalid, NotFound
from flowkit.fields import unparse
from flowkit.graph import Edge as Edge
from flowkit.graph import Node as Node
from flowkit.graph import Record, copy, plain, read_record
from flowkit.judging import Judged
from flowkit.layout import ROW, layered
from flowkit.nodetype import NodeType, node_type, read_node
from flowkit.problems import Problem, pointer
from flowkit.shape import Shape, shape_of
from flowkit.wire import INTERNAL

if TYPE_CHECKING:
    from flowkit.diff import Diff
    from flowkit.options import Options
    from flowkit.trial import Journey


@dataclass(frozen=True, init=False, eq=False, repr=False)
class Flow(Fluent, Record, Judged):
    """A flow: nodes and edges that say what happens to a contact after a trigger.

    Every building method returns a new flow. ``flow.to_dict()`` is what React Flow loads.

    Parameters
    ----------
    name : str
        What people call it.
    trigger : str
        Trigger type whose webhooks start it; ``[A-Za-z0-9_.-]{1,128}``.
    contact : str, optional
        Where the contact is in the payload, as JMESPath; ``"contact"`` when not given.
    filter : Expr or JSONLogic, optional
        Condition on the payload; the flow starts only when it holds.
    idempotency_key : str, optional
        Where the event's own id is in the payload, as JMESPath; an event that is delivered
        again starts the flow once.
    id : str, optional
        Id of a flow that is stored already.
    settings : dict, optional
        JSON settings of the flow.
    start : str, optional
        Id of the TRIGGER node.

    Attributes
    ----------
    nodes : tuple of Node
    edges : tuple of Edge
    trigger_type : str
    is_active : bool
        Whether triggers start it; the service's to set.
    is_paused : bool
        Whether its executions are held where they are.
    version : int
        Number of its content as published; 0 when it was never stored.
    created_at, updated_at : datetime or None
        Set by the service.
    extra : dict
        Every other key of the document, such as React Flow's ``viewport``.

    Examples
    --------
    >>> flow = (
    ...     Flow("Welcome", trigger="signed_up")
    ...     .delay(hours=1)
    ...     .send(template="welcome", language="en_US", parameters=["{{ contact.first_name }}"])
    ...     .end()
    ... )
    >>> flow.validate()
    []
    """

    id: str | None = None
    name: str = field(default="", metadata={"always": True})
    trigger_type: str = field(default="", metadata={"always": True})
    is_active: bool = False
    is_paused: bool = False
    version: int = 0
    nodes: tuple[Node, ...] = ()
    edges: tuple[Edge, ...] = ()
    settings: dict[str, Any] = field(default_factory=dict)
    created_at: datetime | None = None
    updated_at: datetime | None = None
    extra: dict[str, Any] = field(default_factory=dict, metadata=INTERNAL)
    said: Mapping[str, tuple[Any, Any]] = field(default_factory=dict, metadata=INTERNAL)

    def __init__(
        self,
        name: str,
        *,
        trigger: str,
        contact: str | None = None,
        filter: Any = None,
        idempotency_key: str | None = None,
        id: str | None = None,
        settings: dict[str, Any] | None = None,
        start: str = "trigger_1",
    ) -> None:
        # With it come all node types, a third of what loading flowkit would take.
        from flowkit.nodes.system import Trigger

        found = check_name(name) + check_trigger_type(trigger) + check_node_id(start, "/start")
        if found:
            raise Invalid(found)
        given: dict[str, Any] = {} if contact is None else {"contact": contact}
        config = unparse(Trigger(filter=filter, idempotency_key=idempotency_key, **given)) | given
        first = Node(start, "TRIGGER", config=config)
        values = {
            "id": id,
            "name": name,
            "trigger_type": trigger,
            "is_active": False,
            "is_paused": False,
            "version": 0,
            "nodes": (first,),
            "edges": (),
            "settings": _json(settings or {}, "/settings"),
            "created_at": None,
            "updated_at": None,
            "extra": {},
            "said": {},
        }
        self.__dict__.update(values, _ends=(OpenEnd(start, None),))

    def __getstate__(self) -> dict[str, Any]:
        # Without what is cached: it can be built again, and classes of a notebook do not pickle.
        names = (*(f.name for f in fields(self)), "_ends")
        return {name: self.__dict__[name] for name in names}

    def replace(self, **changes: Any) -> Self:
        """Return the flow with other values in some fields, such as ``is_active=True``."""
        state = self.__getstate__()
        unknown = set(changes) - set(state)
        if unknown:
            raise TypeError(f"a flow has no {', '.join(sorted(unknown))}")
        made = object.__new__(type(self))
        made.__dict__.update(state | changes)
        return made

    def __repr__(self) -> str:
        lines = [f"Flow({self.name!r}, trigger={self.trigger_type!r})"]
        after: dict[str, list[str]] = {}
        for edge in self.edges:
            way = f"[{edge.source_handle}] " if edge.source_handle is not None else ""
            after.setdefault(edge.source, []).append(way + edge.target)
        for node in self.nodes:
            config = ", ".join(f"{k}={json.dumps(v)}" for k, v in node.config.items())
            config = config if len(config) <= 60 else config[:57] + "..."
            leads = f" -> {', '.join(after[node.id])}" if node.id in after else ""
            lines.append(f"  {node.id}: {node.type}({config}){leads}")
        return "\n".join(lines)

    # -- JSON

    @classmethod
    def from_dict(cls, document: Any) -> Self:
        """Return the flow of a JSON document; ``to_dict`` gives the same document again.

        A flow with mistakes in it can be read as well: `validate` names them.

        Raises
        ------
        Invalid
            When the document cannot be a flow at all, such as one without a list of nodes.
        """
        found: list[Problem] = []
        data = plain(document, "", found)
        if found:
            raise Invalid(found)
        values = read_record(cls, data, "", found, apart=("nodes", "edges"))
        if isinstance(data, dict):
            for key, record in (("nodes", Node), ("edges", Edge)):
                values[key] = _read_list(record, data.get(key), pointer(key), found)
        if found:
            raise Invalid(found)
        made = object.__new__(cls)
        made.__dict__.update(values, _ends=None)
        return made

    @classmethod
    def from_json(cls, text: str | bytes) -> Self:
        """Return the flow of a JSON text.

        Raises
        ------
        Invalid
            When the text is no JSON or the document cannot be a flow.
        """
        try:
            document = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise Invalid([Problem("document.json", "", f"This is no JSON: {error}.")]) from error
        return cls.from_dict(document)

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON document; its own copy. Built nodes get their positions here."""
        written = super().to_dict()
        written["nodes"] = [node.to_dict() for node in self._placed]
        written["edges"] = [edge.to_dict() for edge in self.edges]
        return written

    def to_json(self, *, indent: int | None = None) -> str:
        """Return the document as JSON text."""
        return json.dumps(self.to_dict(), indent=indent, ensure_ascii=False, allow_nan=False)

    def to_python(self) -> str:
        """Return Python source that makes this flow and assigns it to ``flow``.

        It is what one would write with the building methods; what they cannot make follows as
        nodes, edges and a view, or the whole as its document. Running it gives the same flow.
        """
        from flowkit.source import to_python

        return to_python(self)

    def with_view(self, view: dict[str, Any]) -> Self:
        """Return the flow with what a canvas or a store keeps beside its meaning.

        Parameters
        ----------
        view : dict
            Keys of the flow's document, such as ``isActive`` or ``viewport``. ``nodes`` and
            ``edges`` are objects by id, in the order that the lists take. A node that is named
            has its position, and all else that is not its meaning, from here alone, and an edge
            its label; a ``config`` adds fields that are spelled although they are at their
            default.

        Raises
        ------
        Invalid
            When an id is unknown or the document is none of a flow.
        """
        from flowkit.view import put_on

        return put_on(self, view)

    def diff(self, other: Flow) -> Diff:
        """Return what differs from this flow to `other`, by meaning; see `flowkit.diff`."""
        from flowkit.diff import diff

        return diff(self, other)

    def to_svg(self) -> str:
        """Return a picture of the flow, as SVG text."""
        from flowkit.picture import flow_svg

        return flow_svg(self)

    def _repr_html_(self) -> str:
        return self.to_svg()

    def content(self) -> dict[str, Any]:
        """Return what executions depend on, in a canonical order: what a version is a version of.

        View fields, labels, ids of edges and the order of nodes are left out; the order of the
        edges that leave one handle stays, because it numbers the branches.
        """
        return {
            "name": self.name,
            "triggerType": self.trigger_type,
            "settings": copy(self.settings),
            "nodes": [
                {"id": node.id, "type": node.type, "config": copy(node.config)}
                for node in sorted(self.nodes, key=lambda node: node.id)
            ],
            "edges": [
                {"source": e.source, "sourceHandle": e.source_handle, "target": e.target}
                for e in sorted(self.edges, key=lambda e: (e.source, e.source_handle or ""))
            ],
        }

    # -- what the engine asks, for every node of every execution

    @cached_property
    def start(self) -> str:
        """Id of the TRIGGER node. Raises `Invalid` unless there is exactly one."""
        triggers = [node.id for node in self.nodes if node.type == "TRIGGER"]
        if len(triggers) != 1:
            message = f"A flow needs exactly one TRIGGER node; this one has {len(triggers)}."
            raise Invalid([Problem("graph.trigger", "/nodes", message)])
        return triggers[0]

    @cached_property
    def expects_contact(self) -> bool:
        """Whether an execution needs a contact: TRIGGER names where it is, or a node uses it."""
        for node in self.nodes:
            try:
                needs = node_type(node.type).needs_contact
            except NotFound:
                continue
            if needs or (node.type == "TRIGGER" and "contact" in node.config):
                return True
        return False

    @cached_property
    def listens(self) -> frozenset[str]:
        """Types of the events that its executions may wait for."""
        return frozenset(
            event for node in self.nodes for event in self.behaviour(node.id).listens()
        ) | frozenset(self.options.listens())

    @cached_property
    def options(self) -> Options:
        """The settings, read. Raises `Invalid` when they have errors."""
        from flowkit.options import read_options

        return read_options(self.settings)

    def behaviour(self, node_id: str) -> NodeType:
        """Return the node type's instance with the node's config.

        Raises
        ------
        Invalid
            When the config has errors or the type is unknown.
        NotFound
            When there is no such node.
        """
        known = self._behaviours.get(node_id)
        if known is None:
            index = self._index.get(node_id)
            if index is None:
                raise NotFound(f"flow {self.id or self.name} has no node {node_id!r}")
            node = self.nodes[index]
            known = read_node(node.type, node.config, pointer("nodes", index))
            self._behaviours[node_id] = known
        return known

    def targets(self, node_id: str, handle: str | None) -> tuple[str, ...]:
        """Return the nodes to which a handle leads, in the order of the edges."""
        return self._targets.get((node_id, handle), ())

    @cached_property
    def shape(self) -> Shape[str]:
        """The JOINs and loops of the flow."""
        types = {node.id: node.type for node in self.nodes}
        ways: dict[str, dict[str | None, tuple[str, ...]]] = {node: {} for node in types}
        for (node, handle), targets in self._targets.items():
            if node in types:
                ways[node][handle] = tuple(target for target in targets if target in types)
        return shape_of(types, ways.__getitem__)

    def explain(
        self,
        contact: Mapping[str, Any],
        *,
        at: datetime | str | None = None,
        payload: Any = None,
        events: Iterable[tuple[Any, ...]] = (),
        flows: Iterable[Flow] = (),
    ) -> Journey:
        """Return what happens to a contact, and why: each node's decision, rule and values.

        Every message and call succeeds at once; what executions share, such as a cap, is decided
        as if nobody had been there before; `flowkit.test` tries other cases. What it returns is a
        text when printed, and JSON data by ``to_records()``.

        Parameters
        ----------
        contact : mapping
            Such as ``{"id": "c1", "phone": "+5511999990000", "country": "BR"}``.
        at : datetime or str, optional
            When the flow is started; ISO 8601 with its zone where it is a text.
        payload : JSON value, optional
            Of the trigger; ``{"contact": contact}`` without.
        events : iterable of tuple, optional
            What happens to the contact: ``(type, moment)`` or ``(type, moment, payload)``, where
            the moment is one as `at` is, or a timedelta since the start.
        flows : iterable of Flow, optional
            The other flows that nodes run or start, by their ids; see `Trial.with_flows`.

        Raises
        ------
        Invalid
            When the flow has errors or cannot be started so, or an event comes before the start.
        """
        from flowkit.trial import explain

        return explain(self, contact, at=at, payload=payload, events=events, flows=flows)

    @cached_property
    def _behaviours(self) -> dict[str, NodeType]:
        return {}

    @cached_property
    def _index(self) -> dict[str, int]:
        return {node.id: index for index, node in enumerate(self.nodes)}

    @cached_property
    def _targets(self) -> dict[tuple[str, str | None], tuple[str, ...]]:
        gathered: dict[tuple[str, str | None], list[str]] = {}
        for edge in self.edges:
            gathered.setdefault((edge.source, edge.source_handle), []).append(edge.target)
        return {key: tuple(targets) for key, targets in gathered.items()}

    # -- building

    @property
    def open_ends(self) -> tuple[OpenEnd, ...]:
        """The ways out from which the next step goes on."""
        if self.__dict__["_ends"] is not None:
            return tuple(self.__dict__["_ends"])
        ends = []
        for node in self.nodes:
            try:
                handles = self.behaviour(node.id).outputs()
            except Invalid:
                continue
            for handle in handles:
                if handle.required and not self.targets(node.id, handle.id):
                    ends.append(OpenEnd(node.id, handle.id, handle.label or None))
        return tuple(ends)

    def _grown(self, nodes: Iterable[Node], edges: Iterable[Edge], ends: Iterable[OpenEnd]) -> Self:
        return self.replace(
            nodes=(*self.nodes, *nodes), edges=(*self.edges, *edges), _ends=tuple(ends)
        )

    @cached_property
    def _placed(self) -> tuple[Node, ...]:
        """The nodes, those that were built in Python with a position."""
        bare = [node.id for node in self.nodes if node.position is None]
        if not bare or self.__dict__["_ends"] is None:
            return self.nodes
        lowest = [
            node.position["y"]
            for node in self.nodes
            if node.position and isinstance(node.position.get("y"), (int, float))
        ]
        top = round(max(lowest)) + ROW if lowest else 0
        places = layered(bare, ((edge.source, edge.target) for edge in self.edges), top)
        return tuple(
            node
            if node.position is not None
            else node.replace(position=dict(zip("xy", places[node.id], strict=True)))
            for node in self.nodes
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class FlowVersion:
    """A published version of a flow: who published it, when, and why. It never changes."""

    flow_id: str
    version: int
    author: str | None = None
    message: str | None = None
    created_at: datetime


def _read_list(
    record: type[Node] | type[Edge], data: Any, path: str, found: list[Problem]
) -> tuple[Any, ...]:
    if not isinstance(data, list):
        message = "A flow has a list of nodes and a list of edges, which may be empty."
        found.append(Problem("document.type", path, message))
        return ()
    values = [read_record(record, item, path + pointer(i), found) for i, item in enumerate(data)]
    return () if found else tuple(record(**value) for value in values)


def _json(value: Any, path: str) -> Any:
    found: list[Problem] = []
    made = plain(value, path, found)
    if found:
        raise Invalid(found)
    return made
