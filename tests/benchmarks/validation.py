"""How much processor time validation takes: ``python -m tests.benchmarks.validation``.

The flow has every kind of thing that the proofs look at: conditions of two comparisons, switches,
forks that meet, variables set and read, delays, free texts and templates.
"""

from __future__ import annotations

import time
from typing import Any

from flowkit.flow import Flow

SIZES = (1_000, 2_000, 5_000, 10_000)


def document(size: int) -> dict[str, Any]:
    """Return a flow of about `size` nodes: a chain of pieces of nine."""
    nodes: list[dict[str, Any]] = [{"id": "t", "type": "TRIGGER", "config": {}}]
    edges: list[dict[str, Any]] = []

    def node(id: str, type: str, **config: Any) -> None:
        nodes.append({"id": id, "type": type, "config": config})

    def edge(source: str, target: str, handle: str | None = None) -> None:
        made = {"id": f"e{len(edges)}", "source": source, "target": target}
        edges.append(made | ({"sourceHandle": handle} if handle else {}))

    last = "t"
    for n in range(size // 9):
        total, country = {"var": f"trigger.total{n}"}, {"var": "contact.country"}
        few = {"and": [{">": [total, n]}, {"==": [country, "BR"]}]}
        node(f"a{n}", "SET_VARIABLE", values={f"v{n}": n})
        node(f"c{n}", "CONDITION", expression=few)
        cases = [{"id": f"x{i}", "expression": {">": [total, 10 - i]}} for i in range(3)]
        node(f"s{n}", "SWITCH", cases=cases)
        node(f"d{n}", "DELAY", amount=1, unit="hours")
        node(f"m{n}", "SEND_MESSAGE", kind="text", text=f"{{{{ vars.v{n} }}}} of {n}")
        node(f"f{n}", "DELAY", amount=2, unit="minutes")
        node(f"g{n}", "DELAY", amount=3, unit="minutes")
        node(f"p{n}", "SEND_MESSAGE", kind="template", template="hi", language="pt_BR")
        node(f"j{n}", "DELAY", amount=1, unit="days")
        edge(last, f"a{n}")
        edge(f"a{n}", f"c{n}")
        edge(f"c{n}", f"s{n}", "true")
        edge(f"c{n}", f"d{n}", "false")
        for way in ("x0", "x1", "x2", "default"):
            edge(f"s{n}", f"d{n}", way)
        edge(f"d{n}", f"m{n}")
        for side in "fg":
            edge(f"m{n}", f"{side}{n}")
            edge(f"{side}{n}", f"p{n}")
        edge(f"p{n}", f"j{n}")
        last = f"j{n}"
    node("end", "END")
    edge(last, "end")
    return {"name": "Large", "triggerType": "x", "nodes": nodes, "edges": edges}


def main() -> None:
    """Print the seconds of processor time by size."""
    for size in SIZES:
        flow = Flow.from_dict(document(size))
        begun = time.process_time()
        found = flow.validate()
        taken = time.process_time() - begun
        print(f"{len(flow.nodes):>6} nodes  {taken:6.2f} s  {len(found):>6} findings")


if __name__ == "__main__":
    main()
