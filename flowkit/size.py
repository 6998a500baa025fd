"""How large an execution is, as it is counted against the limit of its growth.

Owns the estimate: what a record's free-form data has as canonical JSON in UTF-8, and a fixed
amount for the rest. It does not depend on statuses and times, so that a record counts the same
before and after a store. May import `execution`.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from flowkit.execution import Branch, Claim, Execution, NodeRun, Patch, Received

RUN_BYTES = 400
"""A node run without result, error and attempts."""
BRANCH_BYTES = 300
"""A branch without path, variables and what it waits with."""
EVENT_BYTES = 200
"""A received event without its payload."""
NAME_BYTES = 16
"""A name in a list, beside its text."""
OUTCOME_BYTES = 1_000
"""What an effect's outcome may have however full the execution is."""
RESERVED_BYTES = RUN_BYTES + OUTCOME_BYTES
"""Kept free for each branch that is open: for its outcome, or the record that it found no room."""
EXECUTION_TOO_LARGE = "execution_too_large"
"""Error code of a node that found no room."""


_ENCODER = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False)


def size_of(value: Any) -> int:
    """Return the size of JSON data; what is empty has none."""
    if not value:
        return 0
    text = _ENCODER.encode(value)  # unsorted: as long as canonical text, and sooner done
    return len(text) if text.isascii() else len(text.encode(errors="surrogatepass"))


def size_of_names(names: Iterable[str]) -> int:
    """Return the size of a list of ids."""
    return sum(len(name) + NAME_BYTES for name in names)


def size_of_run(run: NodeRun) -> int:
    """Return the size of a run; of END's, only the arrivals count, which come one by one."""
    if run.arrivals:
        return size_of_names(run.arrivals)
    return RUN_BYTES + size_of(run.result) + size_of(run.error) + size_of(run.attempts)


def growth_of_run(run: NodeRun, was: NodeRun) -> int:
    """Return by how much a run has grown since it `was`."""
    kept = run.result is was.result and run.error is was.error
    if kept and run.attempts is was.attempts and run.arrivals is was.arrivals:
        return 0
    return size_of_run(run) - size_of_run(was)


def size_of_branch(branch: Branch) -> int:
    """Return the size of a branch."""
    return (
        BRANCH_BYTES
        + size_of_names(branch.path)
        + size_of(branch.vars)
        + size_of(branch.resume_data)
    )


def size_of_event(event: Received) -> int:
    """Return the size of a received event."""
    return EVENT_BYTES + size_of(event.payload)


def growth_of_branch(branch: Branch, was: Branch) -> int:
    """Return by how much a branch has grown since it `was`; its path goes on from there."""
    grown = size_of_names(branch.path[len(was.path) :])
    if branch.vars is not was.vars:
        grown += size_of(branch.vars) - size_of(was.vars)
    if branch.resume_data is not was.resume_data:
        grown += size_of(branch.resume_data) - size_of(was.resume_data)
    return grown


def size_of_execution(execution: Execution) -> int:
    """Return the size of a whole execution: what ``bytes`` has added up to."""
    return (
        size_of(execution.context)
        + sum(map(size_of_branch, execution.branches))
        + sum(map(size_of_run, execution.executed_nodes))
        + sum(map(size_of_event, execution.inbox))
    )


def growth_of(patch: Patch, claim: Claim) -> int:
    """Return by how much a patch makes an execution grow, beside what was claimed of it."""
    return (
        sum(map(size_of_run, patch.append))
        + sum(
            growth_of_run(settle.run, claim.runs[settle.run.idempotency_key])
            for settle in patch.settle
        )
        + sum(size_of_names(arrival.branch_ids) for arrival in patch.arrive)
        + sum(map(size_of_branch, patch.spawn))
        + sum(
            growth_of_branch(move.branch, claim.branches[move.branch.branch_id])
            for move in patch.move
        )
    )
