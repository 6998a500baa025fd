"""Where the courses of the same contacts through two flows part: `Comparison`.

Owns what counts as a difference and how it is told. Imports pandas, `result`, `history.frames`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from functools import cached_property
from itertools import groupby
from operator import itemgetter
from typing import Any, NamedTuple

import pandas as pd

from flowkit.history.frames import DURATION, JSON, TEXT, TIME
from flowkit.simulation.result import Simulation, is_message

DIFFERENCES = {
    "same": "the same",
    "time": "at other times",
    "message": "with other messages",
    "outcome": "with other outcomes",
    "way": "by another way",
    "start": "in one flow only",
}
"""What a course can differ in, and how that is said; of several, the last counts."""
COUNTED = ("entered", "failed", "sent", "delivered", "read", "replied", "clicked", "bought", "cost")
"""What a summary has of each node, of the old flow and of the new."""
SHOWN = ("entered", "sent", "failed", "cost")

Key = tuple[str, int]
"""A node, and the visit to it."""


class _Run(NamedTuple):
    node_id: str
    visit: int
    branch_id: str
    start: int
    end: int
    ended: tuple[str, str | None]
    message: bool


class _Parting(NamedTuple):
    """How and where two courses part, and where each goes from there."""

    differs: str
    parted_at: str | None = None
    old_next: str | None = None
    new_next: str | None = None


class Comparison:
    """The same triggers run through two flows, with the same random numbers.

    Nodes are the same by id. True when any execution differs.

    Attributes
    ----------
    old, new : Simulation
        What became of them in each flow; executions have the same ids in both.
    about : str
        What was run, in a sentence.
    """

    def __init__(
        self, old: Simulation, new: Simulation, triggers: pd.DataFrame, about: str = ""
    ) -> None:
        self.old, self.new, self.about = old, new, about
        self._triggers = triggers

    def __bool__(self) -> bool:
        return bool((self.contacts["differs"] != "same").any())

    @cached_property
    def contacts(self) -> pd.DataFrame:
        """One row per trigger, in the order of their times.

        Columns::

            execution_id, contact_id   whose trigger it was (string)
            created_at                 when it came
            differs                    same; time, at other times; message, from a node whose
                                       config differs; outcome, a run ended otherwise; way,
                                       through other nodes; start, in one flow only: of several
                                       the last of these
            parted_at                  the first node at which they differ so; of ways the last
                                       node before they part; missing when they are the same
            old_next, new_next         where each goes from there, when they part
            only_old, only_new         message nodes of which only one flow sent (lists)
            old_status, new_status     of the execution; missing where it was not started
            shift                      how much later it ended in the new flow (timedelta)
        """
        heads = self._triggers[["execution_id", "contact_id", "created_at"]]
        courses = [_courses(side.node_runs) for side in (self.old, self.new)]
        ends = [side.executions.set_index("execution_id") for side in (self.old, self.new)]
        partings, only = [], []
        for execution_id in heads["execution_id"]:
            one, other = (course.get(execution_id) for course in courses)
            partings.append(self._parting(one, other))
            sent, now = ([run for run in runs or () if run.message] for runs in (one, other))
            only.append((_besides(sent, now), _besides(now, sent)))
        parted = pd.DataFrame(partings, columns=_Parting._fields, dtype=TEXT)
        old_end, new_end = (end["ended_at"].reindex(heads["execution_id"]).array for end in ends)
        status = [end["status"].reindex(heads["execution_id"]).array for end in ends]
        return pd.concat([heads.reset_index(drop=True), parted], axis=1).assign(
            only_old=pd.Series([old for old, _ in only], dtype=JSON),
            only_new=pd.Series([new for _, new in only], dtype=JSON),
            old_status=pd.Series(status[0], dtype=TEXT),
            new_status=pd.Series(status[1], dtype=TEXT),
            shift=pd.Series(new_end - old_end, dtype=DURATION),
        )

    @cached_property
    def messages(self) -> pd.DataFrame:
        """One row per message that either flow sent, in the order of contacts and times.

        Columns ``execution_id``, ``contact_id``, ``node_id``, ``visit``, then ``old_sent_at`` and
        ``new_sent_at``, missing where it was not sent, and ``shift``, how much later it was.
        """
        key = ["execution_id", "contact_id", "node_id", "visit"]
        sides = []
        for name, side in (("old", self.old), ("new", self.new)):
            runs = side.node_runs[is_message(side.node_runs)]
            sides.append(runs[[*key, "end_time"]].rename(columns={"end_time": f"{name}_sent_at"}))
        both = sides[0].merge(sides[1], on=key, how="outer")
        place = {own: row for row, own in enumerate(self._triggers["execution_id"])}
        both["place"] = both["execution_id"].map(place)
        both["first"] = both[["old_sent_at", "new_sent_at"]].min(axis=1)
        both = both.sort_values(["place", "first", "node_id", "visit"], ignore_index=True)
        both = both.drop(columns=["place", "first"])
        both["shift"] = both["new_sent_at"] - both["old_sent_at"]
        times = {"old_sent_at": TIME, "new_sent_at": TIME, "shift": DURATION}
        return both.astype({"execution_id": TEXT, "contact_id": TEXT, "node_id": TEXT, **times})

    def summary(self) -> pd.DataFrame:
        """Return one row per node of either flow, with what came of it in the old and the new.

        Returns
        -------
        pandas.DataFrame
            ``node_id``; ``parted``, how many courses part there (int64); ``reached_old`` and
            ``reached_new``, the share of the executions started that came to it (its complement
            is the drop-off); then, with ``_old`` and ``_new`` each, ``entered``, ``failed``,
            ``sent`` (messages), ``delivered``, ``read``, ``replied``, ``clicked``, ``bought``
            (Int64), and ``cost`` where prices are given. In the order of the new flow, then of
            what only the old one has.
        """
        return self._table.copy()

    @cached_property
    def _table(self) -> pd.DataFrame:
        tables = []
        for name, side in (("old", self.old), ("new", self.new)):
            table = side.summary().set_index("node_id")
            table["sent"] = side.messages.groupby("node_id").size().reindex(table.index)
            runs = side.node_runs.drop_duplicates(["execution_id", "node_id"])
            came = runs.groupby("node_id").size().reindex(table.index)
            table["reached"] = came / max(len(side.executions), 1)
            kept = [column for column in ("reached", *COUNTED) if column in table]
            tables.append(table[kept].add_suffix(f"_{name}"))
        ids = [node.id for flow in (self.new.flow, self.old.flow) for node in flow.nodes]
        ran = tables[0].index.union(tables[1].index)
        index = pd.Index([i for i in dict.fromkeys(ids) if i in ran], name="node_id", dtype=TEXT)
        parted = self.contacts["parted_at"].value_counts().reindex(index).fillna(0)
        made = pd.DataFrame({"parted": parted.astype("int64")}, index=index)
        for column in ("reached", *COUNTED):
            for table in tables:
                for name in table.columns.intersection([f"{column}_old", f"{column}_new"]):
                    values = table[name].reindex(index)
                    exact = column in ("reached", "cost")
                    made[name] = values.astype("float64" if exact else "Int64").fillna(0)
        return made.reset_index()

    def __str__(self) -> str:
        lines = [self.about] if self.about else []
        lines += self._said()
        rows = list(self._rows())
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        for row in rows if len(rows) > 1 else ():
            cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
            lines.append("  " + "  ".join(cells).rstrip())
        return "\n".join(lines)

    __repr__ = __str__

    def _repr_html_(self) -> str:
        import html

        lines = "<br>".join(map(html.escape, [self.about, *self._said()]))
        picture = self.old.flow.diff(self.new.flow).to_svg()
        table: str = self._table.to_html(index=False)
        return f"<p>{lines}</p>{picture}{table}"

    def _said(self) -> Iterator[str]:
        """Yield what differs on the whole, in sentences."""
        found = self.contacts["differs"].value_counts()
        parts = [f"{found[name]} {said}" for name, said in DIFFERENCES.items() if name in found]
        started = _change(len(self.old.executions), len(self.new.executions))
        yield f"{started} executions of {len(self.contacts)} triggers: {', '.join(parts)}"
        one, other = len(self.old.messages), len(self.new.messages)
        yield f"messages {_change(one, other)}"
        if "cost_old" in self._table:
            yield f"cost {_change(round(self.old.cost(), 2), round(self.new.cost(), 2))}"

    def _rows(self) -> Iterator[list[str]]:
        """Yield a heading, then a row for each node at which something differs."""
        table = self._table
        shown = [name for name in SHOWN if f"{name}_old" in table]
        yield ["node", "reached", *shown, "courses part"]
        for row in table.to_dict("records"):
            pairs = [(row[f"{name}_old"], row[f"{name}_new"]) for name in shown]
            if row["parted"] or any(one != other for one, other in pairs):
                shares = (f"{100 * row[f'reached_{side}']:.1f} %" for side in ("old", "new"))
                cells = (_change(*(round(value, 2) for value in pair)) for pair in pairs)
                yield [row["node_id"], _change(*shares), *cells, str(row["parted"] or "")]

    def _parting(self, old: list[_Run] | None, new: list[_Run] | None) -> _Parting:
        if old is None or new is None:
            if old is new:
                return _Parting("same")
            flow = self.old.flow if new is None else self.new.flow
            return _Parting("start", flow.start)
        if old == new and not self._rewritten:
            return _Parting("same")
        one, other = ({(run.node_id, run.visit): run for run in runs} for runs in (old, new))
        found = list(_differences(one, other, self._rewritten))
        if not found:
            return _Parting("same")
        differs = max((kind for kind, _ in found), key=list(DIFFERENCES).index)
        first = min((run for kind, run in found if kind == differs), key=lambda run: run.start)
        if differs != "way":
            return _Parting(differs, first.node_id)
        mine, theirs = _befores(old), _befores(new)
        own = first.node_id, first.visit
        before = mine[own] if own in mine else theirs[own]
        return _Parting(
            differs,
            first.node_id if before is None else before[0],
            _next(before, mine, other),
            _next(before, theirs, one),
        )

    @cached_property
    def _rewritten(self) -> frozenset[str]:
        """The nodes of both flows whose messages are others."""
        before = {node.id: (node.type, node.config) for node in self.old.flow.nodes}
        return frozenset(
            node.id
            for node in self.new.flow.nodes
            if node.id in before and before[node.id] != (node.type, node.config)
        )


def _courses(node_runs: pd.DataFrame) -> dict[str, list[_Run]]:
    """Return the runs of each execution, in their order."""
    errors = node_runs["error_code"].astype(object).where(node_runs["error_code"].notna(), None)
    rows = zip(
        node_runs["execution_id"],
        node_runs["node_id"],
        node_runs["visit"],
        node_runs["branch_id"],
        node_runs["start_time"].astype("int64"),
        node_runs["end_time"].astype("int64"),
        node_runs["status"],
        errors,
        is_message(node_runs),
        strict=True,
    )
    return {
        own: [
            _Run(node, visit, branch, start, end, (status, error), message)
            for _, node, visit, branch, start, end, status, error, message in runs
        ]
        for own, runs in groupby(rows, key=itemgetter(0))
    }


def _differences(
    old: Mapping[Key, _Run], new: Mapping[Key, _Run], rewritten: Iterable[str]
) -> Iterator[tuple[str, _Run]]:
    """Yield the runs in which two courses differ, and in what."""
    for key, run in old.items():
        there = new.get(key)
        if there is None:
            yield "way", run
        elif run.ended != there.ended:
            yield "outcome", run
        elif run.message and run.node_id in rewritten:
            yield "message", run
        elif (run.start, run.end) != (there.start, there.end):
            yield "time", run
    yield from (("way", run) for key, run in new.items() if key not in old)


def _befores(course: list[_Run]) -> dict[Key, Key | None]:
    """Return of each run the one before it, in its branch or the branch that forked into it."""
    last: dict[str, Key] = {}
    found: dict[Key, Key | None] = {}
    for run in course:
        branch = run.branch_id
        while branch and branch not in last:
            branch = branch.rpartition("_")[0]
        found[run.node_id, run.visit] = last.get(branch)
        last[run.branch_id] = run.node_id, run.visit
    return found


def _next(key: Key | None, befores: Mapping[Key, Key | None], other: Mapping[Key, _Run]) -> Any:
    """Return where a course goes after a run, first where the other does not."""
    after = [following for following, before in befores.items() if before == key]
    after.sort(key=lambda following: following in other)
    return after[0][0] if after else None


def _besides(runs: list[_Run], others: list[_Run]) -> list[str]:
    """Return the nodes of runs that are not among others."""
    known = {(run.node_id, run.visit) for run in others}
    return [run.node_id for run in runs if (run.node_id, run.visit) not in known]


def _change(old: Any, new: Any) -> str:
    return f"{old}" if old == new else f"{old} -> {new}"
