"""What the frames of the history say, in numbers.

Owns the tables made of the frames. Imports pandas and `history.frames`.
"""

from __future__ import annotations

from typing import Any

import pandas as pd

from flowkit.history.frames import DURATION, TEXT


def node_table(node_runs: pd.DataFrame) -> pd.DataFrame:
    """Return one row per node: how often it was entered and how that ended.

    Parameters
    ----------
    node_runs : pandas.DataFrame
        As `flowkit.history.node_runs` gives it; rows may have been left out.

    Returns
    -------
    pandas.DataFrame
        Columns ``flow_id`` and ``node_id`` (string), ``entered``, ``completed`` and ``failed``
        (int64, node runs; what is neither completed nor failed is under way or was cancelled),
        ``median_duration`` (timedelta64[ms], of the runs that have ended). Ordered by flow,
        then by the node's usual place among the runs of an execution.
    """
    took: pd.Series[pd.Timedelta] = node_runs["duration"]
    grouped = pd.DataFrame(
        {
            "flow_id": node_runs["flow_id"],
            "node_id": node_runs["node_id"],
            "completed": (node_runs["status"] == "completed").astype("int64"),
            "failed": (node_runs["status"] == "failed").astype("int64"),
            # As numbers: pandas 2.2 takes a missing timedelta of a group for a very small one.
            "milliseconds": took / pd.Timedelta(1, "ms"),
            "place": node_runs.groupby("execution_id", sort=False).cumcount(),
        }
    ).groupby(["flow_id", "node_id"], as_index=False)
    table = grouped.agg(
        entered=("place", "size"),
        completed=("completed", "sum"),
        failed=("failed", "sum"),
        median_duration=("milliseconds", "median"),
        place=("place", "mean"),
    )
    table = table.sort_values(["flow_id", "place", "node_id"], ignore_index=True)
    table["median_duration"] = pd.to_timedelta(table["median_duration"], unit="ms")
    return table.drop(columns="place").astype({"median_duration": DURATION})


def zone_table(node_runs: pd.DataFrame) -> pd.DataFrame:
    """Return whose time zone counted, and which names of zones were none: contacts to be mended.

    Parameters
    ----------
    node_runs : pandas.DataFrame
        As `flowkit.history.node_runs` gives it; rows may have been left out.

    Returns
    -------
    pandas.DataFrame
        One row for each combination: ``flow_id``, ``node_id``, ``source`` (``node``, ``contact``,
        ``flow`` or ``default``, which is UTC), ``unknown`` (string; the name that was passed over,
        missing where none was) and ``count`` (int64, node runs). Of runs that did not look at a
        calendar there is none.
    """
    told = [_zone(result) for result in node_runs["result"]]
    table = pd.DataFrame(
        {
            "flow_id": node_runs["flow_id"],
            "node_id": node_runs["node_id"],
            "source": [facts.get("timeZoneFrom") for facts in told],
            "unknown": [facts.get("timeZoneUnknown") for facts in told],
        }
    ).astype({"source": TEXT, "unknown": TEXT})
    table = table[table["source"].notna()]
    keys = list(table.columns)
    return table.groupby(keys, dropna=False).size().reset_index(name="count")


def _zone(result: Any) -> dict[str, Any]:
    """Return the facts of the zone in a run's result: a calendar node's, or of quiet hours."""
    if not isinstance(result, dict):
        return {}
    held = result.get("quietHours")
    return held if isinstance(held, dict) else result
