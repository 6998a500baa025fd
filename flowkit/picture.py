"""Flows and differences of flows as SVG: a picture for notebooks, reviews and documents.

Owns the drawing; nothing in it needs a network, a script or a font. What a colour says is said
by a sign and a kind of line too. Imports `diff`, `flow`, `layout`.
"""

from __future__ import annotations

import hashlib
import html
import json
import re
from dataclasses import dataclass
from typing import Any, TypeGuard

from flowkit.diff import SIGNS, Diff
from flowkit.flow import Flow, Node
from flowkit.layout import COLUMN, ROW, layered

_WIDTH, _HEIGHT = COLUMN - 50, ROW - 70
_LETTERS = 30
_NO_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_STYLES = {
    "": ("#4b5563", "#ffffff", ""),
    "added": ("#166534", "#dcfce7", ""),
    "removed": ("#b91c1c", "#fee2e2", ' stroke-dasharray="6 4"'),
    "changed": ("#b45309", "#fef3c7", ' stroke-width="3"'),
}


@dataclass(frozen=True)
class _Box:
    node: Node
    mark: str = ""
    note: str = ""


@dataclass(frozen=True)
class _Line:
    source: str
    target: str
    handle: str | None
    mark: str = ""


def flow_svg(flow: Flow) -> str:
    """Return a picture of a flow, with its nodes where the canvas has them."""
    places: dict[str, tuple[float, float]] = {}
    for node in flow.to_dict()["nodes"]:
        x, y = ((node.get("position") or {}).get(axis) for axis in "xy")
        if _is_number(x) and _is_number(y):
            places[node["id"]] = (x, y)
    lines = [_Line(edge.source, edge.target, edge.source_handle) for edge in flow.edges]
    desc = f"{len(flow.nodes)} nodes and {len(flow.edges)} edges, started by {flow.trigger_type}."
    if len(places) < len(flow.nodes):
        places = {}
    return _svg(flow.name, desc, [_Box(node) for node in flow.nodes], lines, places)


def diff_svg(diff: Diff) -> str:
    """Return a picture of two flows in one: added +, removed -, changed ~."""
    notes: dict[str, list[str]] = {}
    marks: dict[str, str] = {}
    for change in diff.changes:
        if change.what == "node":
            known = change.kind if change.kind in SIGNS and not change.path else "changed"
            marks.setdefault(change.id, known)
            notes.setdefault(change.id, []).append(str(change))
    names = {c.old: c.id for c in diff.changes if c.what == "node" and c.kind == "renamed"}
    there = {node.id for node in diff.new.nodes}
    gone = [node for node in diff.old.nodes if names.get(node.id, node.id) not in there]
    boxes = [
        _Box(node, marks.get(node.id, ""), "\n".join(notes.get(node.id, ())))
        for node in (*diff.new.nodes, *gone)
    ]
    before, after = (
        dict.fromkeys(
            (named.get(e.source, e.source), named.get(e.target, e.target), e.source_handle)
            for e in flow.edges
        )
        for flow, named in ((diff.old, names), (diff.new, dict[str, str]()))
    )
    lines = [_Line(*way, mark="" if way in before else "added") for way in after]
    lines += [_Line(*way, mark="removed") for way in before if way not in after]
    desc = f"{len(diff.changes)} changes. {'; '.join(map(str, diff.changes))}"
    return _svg(f"{diff.new.name}: what changes", desc, boxes, lines, {})


def _svg(
    title: str,
    desc: str,
    boxes: list[_Box],
    lines: list[_Line],
    places: dict[str, tuple[float, float]],
) -> str:
    if not places:
        ways = [(line.source, line.target) for line in lines]
        places = dict(layered(list(dict.fromkeys(box.node.id for box in boxes)), ways))
    left = min((x for x, _ in places.values()), default=0) - 20
    top = min((y for _, y in places.values()), default=0) - 20
    width = max((x for x, _ in places.values()), default=0) - left + _WIDTH + 20
    height = max((y for _, y in places.values()), default=0) - top + _HEIGHT + 20
    drawn = [_edge(line, places) for line in lines]
    drawn += [_node(box, *places[box.node.id]) for box in boxes]
    body = "\n".join(part for part in drawn if part)
    name = "f" + hashlib.sha256((title + body).encode()).hexdigest()[:10]
    arrows = "".join(
        f'<marker id="{name}-{mark or "plain"}" viewBox="0 0 8 8" refX="8" refY="4" '
        f'markerWidth="8" markerHeight="8" orient="auto"><path d="M0 0L8 4L0 8z" '
        f'fill="{_STYLES[mark][0]}"/></marker>'
        for mark in ("", "added", "removed")
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" role="img" '
        f'aria-labelledby="{name}-title {name}-desc" width="{width:g}" height="{height:g}" '
        f'viewBox="{left:g} {top:g} {width:g} {height:g}" font-family="system-ui, sans-serif">\n'
        f'<title id="{name}-title">{_text(title)}</title>\n'
        f'<desc id="{name}-desc">{_text(desc)}</desc>\n'
        f"<defs>{arrows}</defs>\n"
        f"{body.replace('url(#', f'url(#{name}-')}\n</svg>"
    )


def _node(box: _Box, x: float, y: float) -> str:
    stroke, fill, more = _STYLES[box.mark]
    config = ", ".join(f"{k}={json.dumps(v)}" for k, v in box.node.config.items())
    sign = SIGNS.get(box.mark, "~") if box.mark else ""
    said = f"{box.node.type} {box.node.id} {config}"
    corner = f'<text x="{x + _WIDTH - 12:g}" y="{y + 20:g}" text-anchor="end" {_BOLD}>{sign}</text>'
    return (
        f'<g fill="#111827" font-size="12"><title>{_text(box.note or said)}</title>'
        f'<rect x="{x:g}" y="{y:g}" width="{_WIDTH}" height="{_HEIGHT}" rx="8" '
        f'fill="{fill}" stroke="{stroke}"{more}/>'
        f'<text x="{x + 12:g}" y="{y + 20:g}" {_BOLD}>{_text(_cut(box.node.type))}</text>'
        f'<text x="{x + 12:g}" y="{y + 39:g}">{_text(_cut(box.node.id))}</text>'
        f'<text x="{x + 12:g}" y="{y + 57:g}" fill="#4b5563">{_text(_cut(config))}</text>'
        f"{corner if sign else ''}</g>"
    )


_BOLD = 'font-weight="600"'


def _edge(line: _Line, places: dict[str, tuple[float, float]]) -> str:
    if line.source not in places or line.target not in places:
        return ""
    (x1, y1), (x2, y2) = places[line.source], places[line.target]
    x1, y1, x2 = x1 + _WIDTH / 2, y1 + _HEIGHT, x2 + _WIDTH / 2
    bend = max(abs(y2 - y1) / 2, 30)
    stroke, _, more = _STYLES[line.mark]
    sign = f"{SIGNS[line.mark]} " if line.mark else ""
    said = _text(_cut(sign + (line.handle or "")))
    text = (
        f'<text x="{(x1 + x2) / 2 + 6:g}" y="{(y1 + y2) / 2 + 4:g}" font-size="11" '
        f'fill="{stroke}">{said}</text>'
    )
    return (
        f'<path d="M{x1:g} {y1:g}C{x1:g} {y1 + bend:g} {x2:g} {y2 - bend:g} {x2:g} {y2:g}" '
        f'fill="none" stroke="{stroke}"{more} marker-end="url(#{line.mark or "plain"})"/>'
        f"{text if said else ''}"
    )


def _is_number(value: Any) -> TypeGuard[float]:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < 1e6


def _cut(text: str) -> str:
    return text if len(text) <= _LETTERS else text[: _LETTERS - 1] + "…"


def _text(text: str) -> str:
    return html.escape(_NO_XML.sub("\ufffd", text))
