"""What a canvas and a store keep beside the meaning of a flow: positions, labels, dates, order.

Owns how such a view is put on a flow, and how it is taken from one. A view is JSON data: keys of
the flow's document, where ``nodes`` and ``edges`` are objects by id, in the order of the
document's lists. Imports `flow`, `errors`, `problems`, `wire`.
"""

from __future__ import annotations

from typing import Any, TypeVar

from flowkit.errors import Invalid
from flowkit.flow import Flow
from flowkit.problems import Problem, pointer
from flowkit.wire import canonical

F = TypeVar("F", bound=Flow)

_MEANING = {
    "nodes": ("id", "type", "category", "config"),
    "edges": ("id", "source", "target", "sourceHandle"),
}


def put_on(flow: F, view: dict[str, Any]) -> F:
    """Return the flow with a view; see `Flow.with_view`."""
    document = flow.to_dict()
    found: list[Problem] = []
    for name, meaning in _MEANING.items():
        if name not in view:
            continue
        there = {item["id"]: item for item in document[name]}
        for item_id in view[name]:
            if item_id not in there:
                message = f"The flow has none of that id among its {name}."
                found.append(Problem("view.unknown", pointer(name, item_id), message))
        shown = [
            _shown({key: there[item_id][key] for key in meaning if key in there[item_id]}, more)
            for item_id, more in view[name].items()
            if item_id in there
        ]
        document[name] = shown + [item for i, item in there.items() if i not in view[name]]
    if found:
        raise Invalid(found)
    return type(flow).from_dict(document | {k: v for k, v in view.items() if k not in _MEANING})


def _shown(item: dict[str, Any], more: dict[str, Any]) -> dict[str, Any]:
    spelled = more.get("config")
    if isinstance(spelled, dict):
        more = more | {"config": item.get("config", {}) | spelled}
    return item | more


def taken_from(flow: Flow, bare: Flow) -> dict[str, Any] | None:
    """Return the view with which `bare` is `flow`, or None when no view makes it so."""
    wanted, there = flow.to_dict(), bare.to_dict()
    view = {
        key: value
        for key, value in wanted.items()
        if key not in _MEANING and not _same(value, there.get(key, _MEANING))
    }
    if not _same(wanted["nodes"], there["nodes"]):
        known = {node["id"]: node for node in there["nodes"]}
        view["nodes"] = {
            node["id"]: _more(node, known.get(node["id"], {}), "nodes") for node in wanted["nodes"]
        }
    if not _same(wanted["edges"], there["edges"]):
        known = {_way(edge): edge for edge in there["edges"]}
        edges = [(known.get(_way(edge), {}), edge) for edge in wanted["edges"]]
        view["edges"] = {of.get("id", ""): _more(edge, of, "edges") for of, edge in edges}
    try:
        made = put_on(bare, view) if view else bare
    except Invalid:
        return None
    return view if _same(made.to_dict(), wanted) else None


def _more(item: dict[str, Any], bare: dict[str, Any], name: str) -> dict[str, Any]:
    """Return what `item` has beyond its meaning, and where it spells its meaning otherwise."""
    meaning = _MEANING[name]
    more = {}
    for key, value in item.items():
        if key not in meaning or key not in bare:
            more[key] = value
        elif key == "config" and isinstance(value, dict):
            spelled = {
                inner: given
                for inner, given in value.items()
                if inner not in bare[key] or not _same(given, bare[key][inner])
            }
            more |= {"config": spelled} if spelled else {}
        elif not _same(value, bare[key]):
            more[key] = value
    return more


def _way(edge: dict[str, Any]) -> tuple[Any, ...]:
    return (edge["source"], edge.get("sourceHandle"), edge["target"])


def _same(one: Any, other: Any) -> bool:
    """Return whether two values are the same JSON, in which 2 and 2.0 differ."""
    return other is not _MEANING and canonical(one) == canonical(other)
