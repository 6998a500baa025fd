"""What a history says of how a channel and contacts behave.

Owns the estimates of `Behaviour.fit`. Imports pandas and numpy, `behaviour`, `jsonlogic`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pandas as pd

from flowkit.errors import Invalid
from flowkit.expression import Expr
from flowkit.jsonlogic import check_logic, evaluate, truthy
from flowkit.problems import Problem, pointer
from flowkit.simulation.behaviour import After, Reaction

EFFECTS = (
    *("node_id", "status", "duration", "retry_count"),
    *("result", "error_code", "error_message"),
)
"""Columns of node runs that are read."""
STEPS = {
    "delivered": "sent",
    "read": "delivered",
    "replied": "read",
    "clicked": "read",
    "bought": "read",
}
"""What readers do with a message, and the step that comes before."""
SPREAD_MOST = 1000.0
ENDED = ("completed", "failed", "unknown")
UNKNOWN = "outcome_unknown"
CHANNEL = "whatsapp_"
"""What the codes of a channel's errors begin with."""
NOT_THE_CHANNELS = ("contact_unreachable", "message_empty", "message_too_long")
"""Errors of messages that never reached the channel; the engine makes them again by itself."""


def reactions(
    history: pd.DataFrame,
    messages: pd.DataFrame | None,
    segments: Sequence[Any],
    triggers: pd.DataFrame | None,
) -> list[Reaction]:
    """Return the reactions that frames show; see `Behaviour.fit`."""
    _need(history, EFFECTS, "give it node_runs")
    runs = history[_of_channel(history)]
    if runs.empty:
        message = "The history has no message that a channel took."
        raise Invalid([Problem("behaviour.history", "/result", message)])
    if messages is not None:
        _need(messages, ("node_id", *(f"{step}_at" for step in ("sent", *STEPS))), "give messages")
    logics = [when.to_jsonlogic() if isinstance(when, Expr) else when for when in segments]
    frames = [runs] if messages is None else [runs, messages]
    if logics:
        _check_segments(logics, frames, triggers)
        frames = [_divided(frame, logics, triggers) for frame in frames]
    return [_reaction(node, when, *chosen) for node, when, *chosen in _groups(frames, logics)]


def _need(frame: pd.DataFrame, names: Sequence[str], give: str) -> None:
    missing = [name for name in names if name not in frame.columns]
    if missing:
        message = f"The history has no columns {', '.join(missing)}; {give}."
        raise Invalid([Problem("behaviour.history", pointer(missing[0]), message)])


def _taken(runs: pd.DataFrame) -> pd.Series[Any]:
    given = [isinstance(result, dict) and "messageId" in result for result in runs["result"]]
    return pd.Series(given, index=runs.index, dtype=bool)


def _of_channel(runs: pd.DataFrame) -> pd.Series[Any]:
    """Return which runs say what a channel did: those of its nodes that have ended there."""
    asked = _taken(runs) | runs["error_code"].str.startswith(CHANNEL).fillna(False).astype(bool)
    nodes = runs["node_id"][asked].unique()
    never = runs["error_code"].isin(NOT_THE_CHANNELS).astype(bool)
    return runs["node_id"].isin(nodes) & runs["status"].isin(ENDED) & ~never


def _check_segments(
    logics: Sequence[Any], frames: Sequence[pd.DataFrame], triggers: pd.DataFrame | None
) -> None:
    found = []
    for number, when in enumerate(logics):
        found += check_logic(when, pointer("segments", number))
    if found:
        raise Invalid(found)
    if triggers is None:
        message = "Segments are of contacts: give triggers, which say who they were."
        raise Invalid([Problem("behaviour.history", "/triggers", message)])
    _need(triggers, ("execution_id", "contact"), "give triggers")
    for frame in frames:
        _need(frame, ("execution_id",), "segments need to know whose messages they are")


def _divided(
    frame: pd.DataFrame, logics: Sequence[Any], triggers: pd.DataFrame | None
) -> pd.DataFrame:
    """Return a frame with the number of each row's segment, that of those in none beside."""
    assert triggers is not None

    def segment(contact: Any) -> int:
        facts = {"contact": contact if isinstance(contact, dict) else {}}
        fitting = (n for n, when in enumerate(logics) if truthy(evaluate(when, facts)))
        return next(fitting, len(logics))

    segments = [segment(contact) for contact in triggers["contact"]]
    of = dict(zip(triggers["execution_id"], segments, strict=True))
    return frame.assign(segment=frame["execution_id"].map(of).fillna(len(logics)).astype(int))


def _groups(frames: Sequence[pd.DataFrame], logics: Sequence[Any]) -> Iterator[tuple[Any, ...]]:
    """Yield a node or None for all, a segment's condition or None for the rest, and their rows."""
    runs = frames[0]
    for node in (*sorted(runs["node_id"].unique()), None):
        rows = [frame if node is None else frame[frame["node_id"] == node] for frame in frames]
        for number, when in enumerate(logics):
            inside = [frame[frame["segment"] == number] for frame in rows]
            if len(inside[0]):
                yield node, when, *inside
        if logics:
            rest = [frame[frame["segment"] == len(logics)] for frame in rows]
            rows = rest if len(rest[0]) else rows
        yield node, None, *rows


def _reaction(
    node: str | None, when: Any, runs: pd.DataFrame, messages: pd.DataFrame | None = None
) -> Reaction:
    unknown = ((runs["status"] == "unknown") | (runs["error_code"] == UNKNOWN)).fillna(False)
    failed = (runs["status"] == "failed").astype(bool) & ~unknown.astype(bool)
    # Whatever became of the last attempt, those before it had failed.
    again = int(runs["retry_count"].fillna(0).sum())
    number = max(len(runs) + again, 1)
    refusals = runs[failed]
    error = dict(Reaction().error)
    if len(refusals):
        code = refusals["error_code"].mode().iloc[0]
        of_code = refusals[refusals["error_code"] == code]
        error = {"code": str(code), "message": str(of_code["error_message"].iloc[0])}
    return Reaction(
        node=None if node is None else str(node),
        when=when,
        failed=float(failed.sum() + again) / number,
        unknown=float(unknown.sum()) / number,
        error={**error, "transient": again > 0},
        latency=_time(runs["duration"]),
        **_readers(messages) if messages is not None else {},
    )


def _readers(messages: pd.DataFrame) -> dict[str, Any]:
    """Return what readers did with messages, of those who could."""
    found: dict[str, Any] = {}
    for step, before in STEPS.items():
        could = messages[messages[f"{before}_at"].notna()]
        did = could[could[f"{step}_at"].notna()]
        if len(could):
            found[step] = len(did) / len(could)
        if len(did):
            found[f"{step}_after"] = _time(did[f"{step}_at"] - did[f"{before}_at"])
    return found


def _time(durations: pd.Series[pd.Timedelta]) -> After:
    """Return the log-normal time that fits durations: by median, and spread of their logs."""
    seconds = (durations.dropna() / pd.Timedelta(1, "s")).to_numpy(dtype=float)
    positive = seconds[seconds > 0]
    if len(positive) == 0:
        return After(0.0)
    spread = float(np.exp(np.std(np.log(positive))))
    return After(float(np.median(seconds)), min(max(spread, 1.0), SPREAD_MOST))
