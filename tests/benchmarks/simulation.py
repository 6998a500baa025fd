"""The simulator, beside the bare engine: the gallery's welcome series, 7 days long.

Each contact runs 11 or 12 of its nodes: waits, messages with the first name, a condition that asks
for the country, a split. One message in fifty is refused. `shared` is what `simulate` does, `alone`
lets every execution take every turn of the engine, `bare` is the engine's turns and their
bookkeeping and nothing else: neither heap, nor randomness, nor frames. A step is a node run. Times
of the processor (of all processes) stand beside those of the clock, which say little on a machine
that has other things to do.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import flowkit as fk
from flowkit import engine
from flowkit.course import Alone
from flowkit.gallery import starter
from flowkit.nodetype import Outcome
from flowkit.wire import to_ms
from tests.benchmarks.stage import run
from tests.processes import peak_memory

AT = datetime(2026, 12, 1, 9, tzinfo=UTC)
FIELDS: dict[str, dict[Any, float]] = {
    "country": {"BR": 3, "US": 1},
    "first_name": {f"Name{number}": 1 for number in range(1_000)},
}
WELCOME = starter("welcome-series")
BEHAVIOUR = fk.Behaviour(reactions=[fk.Reaction(failed=0.02, read=0.6, replied=0.1)])


def people(number: int) -> fk.Population:
    """Return so many contacts."""
    return fk.Population(size=number, fields=FIELDS)


def simulated(number: int, **options: Any) -> Callable[[], int]:
    """Return a simulation that gives its number of steps; frames included."""
    return lambda: len(fk.simulate(WELCOME, people(number), BEHAVIOUR, at=AT, **options).node_runs)


def bare(number: int) -> int:
    """Let the engine take executions to their end; every effect succeeds at once."""
    flow = WELCOME.replace(id="welcome", version=1)
    steps = 0
    for contact in people(number):
        execution = engine.start(flow, {"contact": contact}, execution_id="x", now=AT)
        assert execution is not None
        course, now = Alone(0, flow, execution), to_ms(AT)
        going, outcome = True, None
        while going:
            effects, wakes = course.step("root", outcome, now)
            going = bool(effects or wakes)
            outcome = Outcome("completed", result={"messageId": "x"}) if effects else None
            now = wakes[0][1] if wakes else now
        steps += len(course.execution.executed_nodes)
    return steps


def timed(work: Callable[[], int], contacts: int) -> dict[str, Any]:
    """Return what a piece of work took."""
    wall, cpu = time.perf_counter(), sum(os.times()[:4])
    steps = work()
    wall, cpu = time.perf_counter() - wall, sum(os.times()[:4]) - cpu
    return {
        "contacts": contacts,
        "steps": steps,
        "seconds": round(wall, 2),
        "processorSeconds": round(cpu, 2),
        "stepsPerSecond": round(steps / wall),
        "stepsPerProcessorSecond": round(steps / cpu),
        "peakMemoryMiB": peak_memory(os.getpid()),
    }


def measure(short: bool) -> dict[str, Any]:
    """Measure, the smaller load first, so that its peak of memory is its own."""
    few, many = (500, 2_000) if short else (5_000, 100_000)
    report = {
        "bare": timed(lambda: bare(few), few),
        "alone": timed(simulated(few, share=False), few),
        "shared": timed(simulated(many), many),
    }
    if not short:
        million = 1_000_000
        report["millionByTwo"] = timed(simulated(million, processes=2), million)
    return report


if __name__ == "__main__":
    run(__doc__, measure)
