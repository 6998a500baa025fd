"""What a history says of how a channel behaves.

Owns the estimates of `Behaviour.fit`. Imports pandas and numpy, `behaviour`.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from flowkit.errors import Invalid
from flowkit.problems import Problem, pointer
from flowkit.simulation.behaviour import After, Reaction

EFFECTS = ("node_id", "status", "duration", "result", "error_code", "error_message")
SPREAD_MOST = 1000.0


def reactions(history: pd.DataFrame) -> list[Reaction]:
    """Return the reactions that a frame of node runs shows; see `Behaviour.fit`."""
    missing = [name for name in EFFECTS if name not in history.columns]
    if missing:
        message = f"The history has no columns {', '.join(missing)}; give it node_runs."
        raise Invalid([Problem("behaviour.history", pointer(missing[0]), message)])
    given = history["result"].map(lambda result: isinstance(result, dict) and "messageId" in result)
    nodes = history["node_id"].where(given.astype(bool)).dropna().unique()
    if len(nodes) == 0:
        message = "The history has no message that a channel took."
        raise Invalid([Problem("behaviour.history", "/result", message)])
    found = []
    for node in sorted(nodes):
        runs = history[(history["node_id"] == node) & history["status"].isin(ENDED)]
        found.append(_reaction(str(node), runs))
    return found


ENDED = ("completed", "failed", "unknown")
UNKNOWN = "outcome_unknown"
NOT_THE_CHANNELS = ("contact_unreachable", "message_empty", "message_too_long")
"""Errors of messages that never reached the channel; the engine makes them again by itself."""


def _reaction(node: str, runs: pd.DataFrame) -> Reaction:
    runs = runs[~runs["error_code"].isin(NOT_THE_CHANNELS).astype(bool)]
    unknown = ((runs["status"] == "unknown") | (runs["error_code"] == UNKNOWN)).fillna(False)
    failed = (runs["status"] == "failed").astype(bool) & ~unknown.astype(bool)
    number = max(len(runs), 1)
    refusals = runs[failed]
    error = dict(Reaction().error)
    if len(refusals):
        code = refusals["error_code"].mode().iloc[0]
        of_code = refusals[refusals["error_code"] == code]
        error = {
            "code": str(code),
            "message": str(of_code["error_message"].iloc[0]),
            "transient": False,
        }
    return Reaction(
        node=node,
        failed=float(failed.sum()) / number,
        unknown=float(unknown.sum()) / number,
        error=error,
        latency=_latency(runs["duration"]),
    )


def _latency(durations: pd.Series[pd.Timedelta]) -> After:
    """Return the log-normal time that fits durations: by median, and spread of their logs."""
    seconds = (durations.dropna() / pd.Timedelta(1, "s")).to_numpy(dtype=float)
    positive = seconds[seconds > 0]
    if len(positive) == 0:
        return After(0.0)
    spread = float(np.exp(np.std(np.log(positive))))
    return After(float(np.median(seconds)), min(max(spread, 1.0), SPREAD_MOST))
