"""Hypothesis strategies for configs, flows built with the SDK, and documents gone wrong."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

from hypothesis import strategies as st

from flowkit import kinds
from flowkit.errors import NodeFailed
from flowkit.fields import Part, Spec, parse, specs
from flowkit.flow import Flow
from flowkit.nodes.logic import Condition
from flowkit.nodes.system import End, Trigger
from flowkit.nodetype import NodeType, node_types
from flowkit.operators import OPERATORS

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(10**6), 10**6)
    | st.floats(allow_nan=False, allow_infinity=False)
    | texts
)
json_values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=8,
)
"""Any JSON value, small."""

paths = st.sampled_from(
    ["", "contact", "contact.country", "contact.tags", "trigger.total", "trigger.items.0.price"]
)
"""Paths into `scopes`, for ``var``."""
scopes = st.fixed_dictionaries(
    {
        "contact": st.dictionaries(st.sampled_from(["country", "tags", "age"]), json_values),
        "trigger": st.dictionaries(st.sampled_from(["total", "items"]), json_values),
    }
)


def failure_of(run: Callable[[], Any]) -> str | None:
    """The code with which `run` fails as a node does; None when it does not."""
    try:
        run()
    except NodeFailed as failure:
        return failure.code
    return None


def _operations(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    @st.composite
    def operation(draw: Callable[..., Any]) -> Any:
        name = draw(st.sampled_from(sorted(set(OPERATORS) - {"var", "missing"})))
        rule = OPERATORS[name]
        most = int(min(rule.most, rule.least + 2))
        return {name: draw(st.lists(inner, min_size=rule.least, max_size=most))}

    return operation()


logic = st.recursive(
    scalars | paths.map(lambda path: {"var": path}),
    lambda inner: _operations(inner) | st.lists(inner, max_size=3),
    max_leaves=8,
)
"""Well-formed JSONLogic; its operands need not fit together."""

templates = st.sampled_from(
    ["hello", "{{ contact.first_name }}", "{% if contact.vip %}dear{% endif %} you", "a {{ now }}"]
)
mappings = st.sampled_from(["contact", "customer.{phone: phone}", "items[0].buyer", "@"])


FORMATS = {
    "liquid": templates,
    "jmespath": mappings,
    "name": st.text("abc_-9", min_size=1, max_size=4),
    "time-of-day": st.sampled_from(["00:00", "09:30", "23:59"]),
    "time-zone": st.sampled_from(["UTC", "America/Sao_Paulo", "Europe/Berlin"]),
}


def values(kind: kinds.Kind) -> st.SearchStrategy[Any]:
    """JSON values that a kind of field accepts."""
    if isinstance(kind, kinds.Text):
        if kind.format:
            return FORMATS[kind.format]
        least = kind.min_length or 0
        return st.text(
            st.characters(exclude_categories=["Cs"]),
            min_size=least,
            max_size=min(kind.max_length or 99, least + 6),
        )
    if isinstance(kind, kinds.Number):
        low = kind.ge if kind.ge is not None else kind.gt
        high = kind.le if kind.le is not None else kind.lt
        if kind.integer:
            return st.integers(
                low if kind.gt is None else kind.gt + 1, high if kind.lt is None else kind.lt - 1
            )
        return st.floats(
            low,
            1000.0 if high is None else high,
            exclude_min=kind.gt is not None,
            exclude_max=kind.lt is not None,
            allow_nan=False,
            allow_infinity=False,
        ).map(lambda value: int(value) if value.is_integer() else value)
    if isinstance(kind, kinds.Flag):
        return st.booleans()
    if isinstance(kind, kinds.Choice):
        return st.sampled_from(kind.options)
    if isinstance(kind, kinds.Listing):
        return st.lists(values(kind.item), min_size=kind.min_length or 0, max_size=3)
    if isinstance(kind, kinds.Table):
        return st.dictionaries(
            st.text("ab_", min_size=1, max_size=3), values(kind.item), max_size=2
        )
    if isinstance(kind, kinds.Data):
        return json_values
    if isinstance(kind, kinds.Logic):
        return logic
    if isinstance(kind, Part):
        return configs(kind.cls, optional=kind.base is not None)
    raise NotImplementedError(f"no strategy for {kind}")


def configs(cls: type, *, optional: bool = False) -> st.SearchStrategy[dict[str, Any]]:
    """Configs in JSON that a node type accepts, or a part of one, which may be all `optional`."""

    @st.composite
    def config(draw: Callable[..., Any]) -> dict[str, Any]:
        made: dict[str, Any] = {}
        known = specs(cls)
        for spec in known:
            wanted = spec.required and not optional and spec.shown(made, known)
            if wanted or draw(st.booleans()):
                made[spec.wire] = draw(_value(spec))
        return made

    # Rules across fields are stated by no field; they are few enough to be filtered by.
    return config().filter(lambda made: optional or parse(cls, made)[0] is not None)


def _value(spec: Spec) -> st.SearchStrategy[Any]:
    return (st.none() | values(spec.kind)) if spec.nullable else values(spec.kind)


def builtin_types() -> list[type[NodeType]]:
    """The node types that flowkit brings, whatever tests have registered besides."""
    return [cls for cls in node_types().values() if cls.__module__.startswith("flowkit.")]


def behaviours() -> st.SearchStrategy[NodeType]:
    """Nodes of any type that can stand between TRIGGER and END, with one way out or several."""
    from flowkit.nodetype import read_node

    inner = [c for c in builtin_types() if c not in (Trigger, End, Condition)]
    return st.one_of(
        [configs(cls).map(lambda config, cls=cls: read_node(cls.type, config)) for cls in inner]
    )


@st.composite
def flows(draw: Callable[..., Any], max_steps: int = 6) -> Flow:
    """Valid flows, made with the builder: chains, conditions, forks and nestings of them."""

    def grow(flow: Flow, depth: int) -> Flow:
        for _ in range(draw(st.integers(0, max_steps if depth == 0 else 2))):
            if not flow.open_ends:
                return flow
            shape = draw(st.sampled_from(["step", "step", "when", "parallel", "end"]))
            if shape == "step" or (depth >= 2 and shape != "end"):
                flow = flow.then(draw(behaviours()))
            elif shape == "end" and depth > 0:
                flow = flow.end()
            elif shape == "when":
                flow = flow.when(
                    draw(logic),
                    then=lambda b: grow(b, depth + 1),
                    otherwise=draw(st.sampled_from([None, lambda b: grow(b, depth + 1)])),
                )
            elif shape == "parallel":
                count = draw(st.integers(1, 3))
                flow = flow.parallel(*[lambda b: grow(b, depth + 1)] * count)
        return flow

    made = grow(Flow(draw(texts.filter(str.strip)), trigger="started"), 0)
    return made.end() if made.open_ends else made


@st.composite
def mangled(draw: Callable[..., Any]) -> Any:
    """Documents of valid flows in which a few places have been replaced or removed."""
    document = draw(flows()).to_dict()
    for _ in range(draw(st.integers(1, 4))):
        places = list(_places(document))
        parent, key = draw(st.sampled_from(places))
        change = draw(st.sampled_from(["replace", "remove", "borrow"]))
        if change == "remove":
            del parent[key]
        elif change == "replace":
            parent[key] = draw(json_values)
        else:
            other, name = draw(st.sampled_from(places))
            if name in other if isinstance(other, dict) else name < len(other):
                parent[key] = copy.deepcopy(other[name])
        if not isinstance(document, dict) or not document:
            break
    return document


def _places(value: Any) -> Any:
    items = value.items() if isinstance(value, dict) else enumerate(value)
    for key, item in list(items):
        yield value, key
        if isinstance(item, (dict, list)):
            yield from _places(item)
