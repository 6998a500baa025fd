"""`backtest`: the triggers that one version of a flow had, run through another.

Owns the reading of what is recorded, and who of it a flow takes. Imports pandas, `comparison`,
`plan`, `run`, `behaviour`, `history.frames`, `engine`, `starting`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any, NoReturn

import pandas as pd

from flowkit import engine
from flowkit.errors import Invalid
from flowkit.flow import Flow
from flowkit.history.frames import TRIGGERS
from flowkit.problems import Problem, errors, pointer
from flowkit.simulation.behaviour import ANSWERED, Behaviour
from flowkit.simulation.comparison import Comparison
from flowkit.simulation.fitting import EFFECTS
from flowkit.simulation.plan import Start
from flowkit.simulation.prices import Prices
from flowkit.simulation.result import Simulation, is_message
from flowkit.simulation.run import rerun
from flowkit.starting import nodes_of, started_flows
from flowkit.wire import from_ms, to_ms

NEEDED = tuple(column.name for column in TRIGGERS if column.name != "trigger_type")


def backtest(
    old: Flow,
    new: Flow,
    history: Any,
    behaviour: Behaviour | None = None,
    *,
    seed: int = 0,
    prices: Prices | None = None,
    processes: int = 1,
    flows: Iterable[Flow] = (),
) -> Comparison:
    """Return which of the contacts that were there would have fared otherwise in another flow.

    The recorded triggers of `old` are run through both flows by the engine, at the moments at
    which they came, with the same random numbers: those of a message depend on nothing but the
    seed, the contact, the node's id and the visit, and a SPLIT sends a contact the same way in
    both. So nothing differs but what the flows make of it. The same arguments give the same
    result to the byte.

    What is not recorded cannot be run: the triggers that `old` turned away, by its filter or
    entry policy, and the events that contacts waited for.

    Parameters
    ----------
    old, new : Flow
        Without errors. Where `old` has an id and a version, its triggers alone are taken.
    history : Client, Archive, Simulation or pandas.DataFrame
        Where the triggers are; a frame has the columns of `flowkit.history.triggers`.
    behaviour : Behaviour, optional
        How channel and contacts behave; fitted from the history without, where it has node runs
        of messages. A reaction may be for a node of either flow.
    seed : int, optional
        Another seed, other chances.
    prices : Prices, optional
        What messages cost, for the summary.
    processes : int, optional
        Among how many processes the triggers are divided.
    flows : iterable of Flow, optional
        The other flows that either of them runs or starts; see `simulate`.

    Raises
    ------
    Invalid
        When a flow or the behaviour has errors; ``backtest.history`` when columns are missing,
        values are of another type or an execution is there twice; ``backtest.flow`` when the
        history is another flow's or another version's; ``backtest.empty`` when it has no trigger.
    """
    found = errors([*old.validate(), *new.validate()])
    if found:
        raise Invalid(found)
    flows = list(flows)
    triggers = _of_flow(old, _triggers(old, history))
    said = "behaviour as given"
    if behaviour is None:
        messages = getattr(history, "messages", None)  # a simulation knows what readers did
        behaviour, said = fitted(_node_runs(old, history), messages)
    else:
        _check(behaviour, old, new, flows)
    return compare(
        old,
        new,
        triggers,
        behaviour,
        about=f"{len(triggers)} recorded triggers, seed {seed}; {said}",
        seed=seed,
        prices=prices,
        processes=processes,
        flows=flows,
    )


def compare(
    old: Flow,
    new: Flow,
    triggers: pd.DataFrame,
    behaviour: Behaviour,
    *,
    about: str,
    seed: int = 0,
    prices: Prices | None = None,
    processes: int = 1,
    mapped: bool = False,
    flows: Iterable[Flow] = (),
) -> Comparison:
    """Return what two flows without errors make of the same triggers; see `backtest`.

    Reactions for nodes that a flow has not are left out. `mapped` says that the contacts of the
    triggers hold also where the flows map payloads to contacts in different ways.
    """
    flow_id = triggers["flow_id"].iloc[0]
    # A SPLIT divides by the flow's id: it must be the same in both.
    both = [flow.replace(id=flow_id, version=flow.version or 1) for flow in (old, new)]
    recorded = _recorded(triggers)
    anew = recorded
    if not mapped and _mapping(old) != _mapping(new):  # the new one finds them by its own
        anew = [start._replace(contact=None) for start in recorded]
    one, other = (
        _run(flow, [*flows, flow], starts, behaviour, seed, prices, processes)
        for flow, starts in zip(both, (recorded, anew), strict=True)
    )
    return Comparison(one, other, triggers, about)


def fitted(
    node_runs: pd.DataFrame | None, messages: pd.DataFrame | None = None, least: int = 1
) -> tuple[Behaviour, str]:
    """Return the behaviour that a history shows, and what to say of it.

    Parameters
    ----------
    node_runs : pandas.DataFrame or None
        As `flowkit.history.node_runs` gives it.
    messages : pandas.DataFrame, optional
        What readers did; see `Behaviour.fit`.
    least : int, optional
        Messages below which the history says too little.
    """
    number = 0 if node_runs is None else int(is_message(node_runs).sum())
    if node_runs is None or number < max(least, 1):
        seen = f"only {number} messages are recorded" if number else "no message is recorded"
        return Behaviour(), f"every message is taken at once and nobody answers, since {seen}"
    behaviour = Behaviour.fit(node_runs, messages=messages)
    return behaviour, f"behaviour fitted from {number} recorded messages"


def _run(
    flow: Flow,
    flows: Iterable[Flow],
    recorded: Sequence[Start],
    behaviour: Behaviour,
    seed: int,
    prices: Prices | None,
    processes: int,
) -> Simulation:
    """Run the starts that a flow's filter and mapping take."""
    starts = []
    for start in recorded:
        try:
            execution = engine.start(
                flow,
                start.payload,
                execution_id=start.execution_id,
                now=from_ms(start.at),
                contact=start.contact,
            )
        except Invalid:  # production refuses that trigger too
            continue
        if execution is not None:
            starts.append(start._replace(contact=execution.context["contact"]))
    started, found = started_flows(flow, flows, behaviour.answers_for, ANSWERED)
    if found:
        raise Invalid(found)
    own = _about(behaviour, flow, started.values())
    return rerun(flow, starts, own, started=started, seed=seed, prices=prices, processes=processes)


def _about(behaviour: Behaviour, flow: Flow, others: Iterable[Flow]) -> Behaviour:
    """Return the reactions that are about nodes of a flow, or about all."""
    there = {None, *nodes_of(flow, others)}
    return replace(behaviour, reactions=[r for r in behaviour.reactions if r.node in there])


def _check(behaviour: Behaviour, old: Flow, new: Flow, flows: Iterable[Flow]) -> None:
    """Refuse a behaviour that is wrong for both flows."""
    wrong = behaviour.check(new, flows)
    found = [problem for problem in behaviour.check(old, flows) if problem in wrong]
    if found:
        raise Invalid(found)


def _mapping(flow: Flow) -> Any:
    trigger: Any = flow.behaviour(flow.start)
    return trigger.contact


def _triggers(old: Flow, history: Any) -> pd.DataFrame:
    """Return the triggers that a history has."""
    found = getattr(history, "triggers", None)
    if isinstance(history, pd.DataFrame):
        found = history
    elif callable(found):
        found = found(flow=old) if old.id else found()
    if not isinstance(found, pd.DataFrame):
        _refuse(
            "history",
            "",
            f"Triggers come from a client, an archive, a simulation or a frame, not from "
            f"{type(history).__name__}.",
        )
    missing = [name for name in NEEDED if name not in found.columns]
    if missing:
        _refuse(
            "history",
            missing[0],
            f"The history has no columns {', '.join(missing)}; give it client.triggers(flow).",
        )
    return found


def _node_runs(old: Flow, history: Any) -> pd.DataFrame | None:
    """Return the node runs that a history has, or None."""
    found = getattr(history, "node_runs", None)
    if callable(found):
        found = found(flow=old) if old.id else found()
    return found if isinstance(found, pd.DataFrame) and {*EFFECTS} <= {*found.columns} else None


def _of_flow(old: Flow, triggers: pd.DataFrame) -> pd.DataFrame:
    """Return the triggers of a flow's version."""
    if triggers.empty:
        _refuse("empty", "", "The history has no trigger of the flow; nothing can be compared.")
    ids = list(triggers["flow_id"].dropna().unique())
    wanted = old.id or (ids[0] if len(ids) == 1 else None)
    if wanted not in ids:
        of = f"flow {old.id}" if old.id else "a flow without an id"
        _refuse("flow", "flow_id", f"The history is of {_listed(ids)}, and `old` is {of}.")
    triggers = triggers[(triggers["flow_id"] == wanted).fillna(False).astype(bool)]
    versions = sorted(triggers["flow_version"].dropna().unique())
    if old.id and old.version:
        triggers = triggers[(triggers["flow_version"] == old.version).fillna(False).astype(bool)]
        if triggers.empty:
            _refuse(
                "flow",
                "flow_version",
                f"The history is of versions {_listed(versions)} of flow {old.id}, and `old` is "
                f"version {old.version}; give that version, or old.replace(version=0) for all.",
            )
    _check_rows(triggers)
    order = ["created_at", "execution_id"]
    return triggers.sort_values(order, ignore_index=True)


def _listed(values: Iterable[Any]) -> str:
    return ", ".join(map(str, values)) or "no flow"


def _check_rows(triggers: pd.DataFrame) -> None:
    """Refuse rows without an id of their own or an aware moment."""
    rows = zip(triggers["execution_id"], triggers["created_at"], strict=True)
    for row, (own, at) in enumerate(rows):
        if not isinstance(own, str):
            _refuse("history", "execution_id", f"Row {row} has no id of an execution: {own!r}.")
        if not isinstance(at, datetime) or pd.isna(at) or at.tzinfo is None:
            _refuse("history", "created_at", f"Row {row} has no aware moment: {at!r}.")
    again = triggers["execution_id"][triggers["execution_id"].duplicated()]
    if len(again):
        _refuse("history", "execution_id", f"The execution {again.iloc[0]} is there twice.")


def _recorded(triggers: pd.DataFrame) -> list[Start]:
    """Return the triggers of a frame."""
    columns = (triggers[name] for name in ("execution_id", "created_at", "payload", "contact"))
    return [
        Start(own, to_ms(at), payload, contact if isinstance(contact, dict) and contact else None)
        for own, at, payload, contact in zip(*columns, strict=True)
    ]


def _refuse(code: str, name: str, message: str) -> NoReturn:
    raise Invalid([Problem(f"backtest.{code}", pointer(name) if name else "", message)])
