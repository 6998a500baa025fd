"""What a simulation came to: the frames of the history, messages, and a summary.

Owns `Simulation`. What readers did with messages is drawn when it is asked for, from the same
numbers every time. Imports pandas and numpy, `behaviour`, `prices`, `rows`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd

from flowkit.flow import Flow
from flowkit.history.frames import JSON, TEXT, TRIGGERS
from flowkit.history.metrics import node_table
from flowkit.simulation.behaviour import CLOSED_CODE, Behaviour, after_sending
from flowkit.simulation.plan import Part, Start
from flowkit.simulation.prices import Prices
from flowkit.simulation.rows import MISSING, Group, Heads, frames, moments_of
from flowkit.starting import names_before

MESSAGES = ("sent_at", "delivered_at", "read_at", "replied_at", "clicked_at", "bought_at")
"""Times of a message; missing where it did not come to that."""


class Simulation:
    """What happened in a simulation.

    Attributes
    ----------
    executions, node_runs, triggers : pandas.DataFrame
        As the functions of that name in `flowkit.history` give them of production.
    messages : pandas.DataFrame
        One row per message that the channel took: ``execution_id``, ``contact_id``, ``node_id``,
        then when it was sent, delivered, read, replied to, clicked, and when its reader bought.
    turned_away : int
        Contacts for whom the flow's filter said no.
    refused : int
        Triggers of contacts whom the flow's entry policy did not let in again.
    others : dict of str to Simulation
        What happened in the other flows that nodes started, by their ids.
    """

    def __init__(
        self,
        flow: Flow,
        contacts: Sequence[dict[str, Any]],
        parts: Sequence[Part],
        behaviour: Behaviour,
        seed: int,
        prices: Prices | None,
        start: Callable[[int], Start],
        started: Iterable[Flow] = (),
        names: str = "",
    ) -> None:
        self.flow = flow
        self.turned_away = sum(part.turned_away for part in parts)
        self.refused = sum(part.refused for part in parts)
        self._fates = {key: fate for part in parts for key, fate in part.fates.items()}
        self._contacts = [contacts[row] for part in parts for row in part.rows]
        self._rows = [row for part in parts for row in part.rows]
        self._start = start
        self._contexts = {own: found for part in parts for own, found in part.contexts.items()}
        self._heads = Heads(
            [i for part in parts for i in part.heads.ids],
            [i for part in parts for i in part.heads.contact_ids],
        )
        self._groups: list[Group] = []
        first = 0
        for part in parts:
            for group in part.groups:
                members = group.members + first
                self._groups.append(Group(group.execution, group.origin, members, group.times))
            first += len(part.rows)
        self._behaviour, self._seed, self._prices = behaviour, seed, prices
        self._names = names
        judged = replace(behaviour, window=behaviour.judges_window(flow))
        flows = {other.id: other for other in started}
        self.others = {
            other_id: Simulation(
                flows[other_id], contacts, [part.others.get(other_id, Part()) for part in parts],
                judged, seed, prices, start, names=names_before(flow, other_id),
            )
            for other_id in sorted({other_id for part in parts for other_id in part.others})
        }  # fmt: skip

    @cached_property
    def _frames(self) -> tuple[pd.DataFrame, pd.DataFrame]:
        return frames(self._groups, self._heads)

    @property
    def executions(self) -> pd.DataFrame:
        """One row per execution."""
        return self._frames[0]

    @cached_property
    def triggers(self) -> pd.DataFrame:
        """What started each execution, one row each."""
        row_of = dict(zip(self._heads.ids, self._rows, strict=True))
        starts = []
        for own in self.executions["execution_id"]:
            start, context = self._start(row_of[own]), self._contexts.get(own)
            if context is not None:
                start = start._replace(payload=context["trigger"], contact=context["contact"])
            starts.append(start)
        kept = [column.name for column in TRIGGERS if column.dtype != JSON]
        return self.executions[kept].assign(
            payload=pd.Series([start.payload for start in starts], dtype=JSON),
            contact=pd.Series([start.contact for start in starts], dtype=JSON),
        )

    @property
    def node_runs(self) -> pd.DataFrame:
        """One row per node run."""
        return self._frames[1]

    @cached_property
    def messages(self) -> pd.DataFrame:
        """One row per message that the channel took, in the order of `node_runs`."""
        sent = self.node_runs[is_message(self.node_runs)]
        by_id = dict(zip(self._heads.ids, self._contacts, strict=True))
        optouts: dict[str, int] = {}
        rows = [
            self._fates.get((key, attempt))
            or after_sending(
                self._behaviour.reaction(self._names + node, by_id[execution_id]), self._seed,
                contact_id, key.removeprefix(f"{execution_id}_"), attempt, at, optouts,
            )
            for execution_id, contact_id, node, key, attempt, at in zip(
                sent["execution_id"], sent["contact_id"].fillna(""), sent["node_id"],
                sent["idempotency_key"], sent["retry_count"], sent["end_time"].astype("int64"),
                strict=True,
            )
        ]  # fmt: skip
        kept = sent[["execution_id", "contact_id", "node_id"]].reset_index(drop=True)
        for place, name in enumerate(MESSAGES):
            times = [MISSING if row[place] is None else row[place] for row in rows]
            kept[name] = moments_of(np.array(times, dtype=np.int64))
        return kept.astype({"node_id": TEXT})

    def summary(self) -> pd.DataFrame:
        """Return one row per node: how often it was entered, how that ended, what came of it.

        Returns
        -------
        pandas.DataFrame
            As `flowkit.history.node_table` has it, and for message nodes ``delivered``, ``read``,
            ``replied``, ``clicked`` and ``bought`` (Int64), ``last_sent`` (time), and ``cost``
            where prices are given (float; messages without a known price count as missing).
            Where the service window is looked at, ``outside_window`` (Int64) counts the messages
            that failed for it.
        """
        table = node_table(self.node_runs)
        messages = self.messages
        grouped = messages.groupby("node_id")
        for name in MESSAGES[1:]:
            counts = grouped[name].count()
            column = name.removesuffix("_at")
            table[column] = table["node_id"].map(counts).astype("Int64")
        if self._behaviour.judges_window(self.flow):
            runs = self.node_runs
            closed = runs.loc[runs["error_code"] == CLOSED_CODE, "node_id"].value_counts()
            table["outside_window"] = table["node_id"].map(closed).astype("Int64")
        last = grouped["sent_at"].max().reindex(table["node_id"])
        table["last_sent"] = last.reset_index(drop=True)
        if self._prices is not None:
            table["cost"] = table["node_id"].map(self._costs().groupby(messages["node_id"]).sum(
                min_count=1))  # fmt: skip
        return table

    def cost(self) -> float:
        """Return what all delivered messages cost, those of `others` too, in the prices' currency.

        Raises
        ------
        ValueError
            Without prices.
        """
        others = sum(other.cost() for other in self.others.values())
        return float(self._costs().sum()) + others

    def _costs(self) -> pd.Series[Any]:
        if self._prices is None:
            raise ValueError("simulate(..., prices=Prices(...)) knows what messages cost")
        by_id = dict(zip(self._heads.ids, self._contacts, strict=True))
        prices = self._prices
        messages = self.messages
        costs = [
            prices.of(self._names + node, str(by_id[execution_id].get("phone", "")))
            if arrived
            else 0.0
            for execution_id, node, arrived in zip(
                messages["execution_id"],
                messages["node_id"],
                messages["delivered_at"].notna(),
                strict=True,
            )
        ]
        return pd.Series(costs, dtype="float64", index=messages.index)

    def __repr__(self) -> str:
        return f"{self._title()}\n{self.summary().to_string(index=False)}"

    def _repr_html_(self) -> str:
        table: str = self.summary().to_html(index=False)
        return f"<p>{self._title()}</p>{table}"

    def _title(self) -> str:
        statuses = self.executions["status"].value_counts()
        said = ", ".join(f"{count} {status}" for status, count in statuses.items())
        away = f"; {self.turned_away} turned away by the filter" if self.turned_away else ""
        kept = f"; {self.refused} kept out by the entry policy" if self.refused else ""
        more = "".join(
            f"; {len(other.executions)} of {other_id} (see .others)"
            for other_id, other in self.others.items()
        )
        return f"{len(self.executions)} simulated executions: {said or 'none'}{away}{kept}{more}"


def is_message(node_runs: pd.DataFrame) -> pd.Series[Any]:
    """Return which runs are of messages that a channel took: they left its id behind."""
    given = [isinstance(result, dict) and "messageId" in result for result in node_runs["result"]]
    done = node_runs["status"] == "completed"
    return pd.Series(given, index=node_runs.index, dtype=bool) & done.astype(bool)
