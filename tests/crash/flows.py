"""One small flow for each thing that a worker can be killed in; its trigger type is its name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import flowkit as fk

FORK_QUEUE_LIMIT = 10
"""The setting's default: forks from here on are shared among workers."""


def _send(name: str, **config: Any) -> Callable[[Any], Any]:
    return lambda b: b.send(text=name, id=name, **config)


def _check(name: str) -> Callable[[Any], Any]:
    return lambda b: b.when(fk.trigger.n >= 0, then=lambda c: c, otherwise=lambda c: c, id=name)


RESEND = {"on_unknown": "resend"}
AGAIN = {"retry": {"maximumAttempts": 9, "initialInterval": 0.2, "backoffCoefficient": 1.0}}
TRANSIENT = 2
"""A code with which WhatsApp says that it may be tried again after a second."""


def _named(name: str, build: Callable[[Any], Any]) -> dict[str, Any]:
    flow: fk.Flow = build(fk.Flow(name, trigger=name)).end()
    return flow.to_dict() | {"isActive": True}


FLOWS: dict[str, dict[str, Any]] = {
    name: _named(name, build)
    for name, build in {
        "fail": lambda b: b.send(text="one", id="one").send(text="two", id="two"),
        "resend": lambda b: b.send(text="one", id="one", **RESEND).send(
            text="two", id="two", **RESEND
        ),
        "delay": lambda b: b.delay(seconds=0.3, id="wait").send(text="late", id="late"),
        "condition": lambda b: b.when(
            fk.trigger.n >= 0, then=_send("yes", **RESEND), otherwise=_send("no"), id="check"
        ),
        "few": lambda b: b.parallel(*(_send(f"arm{i}") for i in range(3))),
        "shared": lambda b: b.parallel(
            *(_send(f"arm{i}", **RESEND) for i in range(FORK_QUEUE_LIMIT))
        ),
        "converge": lambda b: b.parallel(*(_check(f"check{i}") for i in range(3))).send(
            text="meet", id="meet", **RESEND
        ),
        "retry": lambda b: b.send(text="flaky", id="flaky", **AGAIN).send(text="two", id="two"),
    }.items()
}
ALL_COMPLETE = frozenset({"resend", "condition", "shared", "converge"})
"""Flows whose messages are sent again when nobody knows: each of their executions completes."""


def payloads(number: int) -> list[dict[str, Any]]:
    """Return what triggers executions, each of a contact of its own."""
    return [{"contact": {"id": f"c{i}", "phone": f"+55119{i:08}"}, "n": i} for i in range(number)]
