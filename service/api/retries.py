"""Retries by hand: of one execution, and of many that a filter finds."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import marshmallow as ma

from flowkit import engine
from flowkit.errors import FlowkitError, Invalid
from flowkit.execution import Execution, ExecutionFilter, Patch, new_id, run_at
from flowkit.flow import Flow
from flowkit.problems import Problem
from service.api.body import Blueprint
from service.api.errors import problems_of
from service.api.executions import ExecutionSchema, FilterSchema, change
from service.api.installation import Installation, installation
from service.api.paging import CursorField, newest_first, write_cursor
from service.schemas import Flag, WireSchema, schema_for

LIMIT = 100
LIMIT_MOST = 1_000
AT_ONCE = 50
"""Executions that a retry of many reads and commits together."""
RETRYABLE = ("failed", "running", "delayed")
VERSIONS = ("pinned", "latest")

Decision = Callable[[Execution, Sequence[str] | None], Patch]

blp = Blueprint("Retries", __name__, url_prefix="/api/executions", description="Another attempt.")


def _version(**options: Any) -> ma.fields.String:
    return ma.fields.String(
        load_default="pinned",
        validate=ma.validate.OneOf(VERSIONS),
        metadata={
            "description": "Go on in the version that the execution started with, or in the "
            "newest that is published."
        },
        **options,
    )


def _nodes(description: str) -> ma.fields.List:
    return ma.fields.List(
        ma.fields.String(),
        data_key="nodeIds",
        validate=ma.validate.Length(min=1, error="Name a node, or leave nodeIds out for all."),
        metadata={"description": description},
    )


class RetryQuery(WireSchema):
    """Where an execution goes on."""

    version = _version()


class RetryBody(WireSchema):
    """What to retry of an execution."""

    node_ids = _nodes("Nodes that have failed; all of them when absent.")
    from_start = Flag(
        data_key="fromStart",
        load_default=False,
        metadata={"description": "Start a new execution with the same payload instead."},
    )

    @ma.validates_schema
    def _either(self, data: dict[str, Any], **_: Any) -> None:
        if data.get("from_start") and "node_ids" in data:
            message = "A new execution runs every node: leave nodeIds out."
            raise ma.ValidationError(message, "nodeIds")


class RetryManyBody(FilterSchema):
    """Which failed nodes of which executions to retry."""

    status = ma.fields.String(
        load_default="failed",
        validate=ma.validate.OneOf(RETRYABLE),
        metadata={"description": "Of executions in this status."},
    )
    error_code = ma.fields.String(
        data_key="errorCode", metadata={"description": "Only nodes that failed with this code."}
    )
    node_ids = _nodes("Only these nodes; any that has failed when absent.")
    version = _version()
    limit = ma.fields.Integer(
        strict=True,
        load_default=LIMIT,
        validate=ma.validate.Range(1, LIMIT_MOST),
        metadata={"description": "How many executions to look at in this call."},
    )
    cursor = CursorField(metadata={"description": "`nextCursor` of the call before."})


@dataclass(frozen=True, slots=True)
class Refusal:
    """An execution with failed nodes that could not be retried."""

    execution_id: str
    problem: Problem


@dataclass(slots=True)
class Retried:
    """What became of a retry of many: ids of executions, and why others were refused."""

    retried: list[str] = field(default_factory=list)
    refused: list[Refusal] = field(default_factory=list)
    next_cursor: str | None = None


@blp.route("/<execution_id>/retry", methods=["POST"])
@blp.arguments(RetryQuery, location="query")
@blp.arguments(RetryBody, required=False)
@blp.response(200, ExecutionSchema)
@blp.alt_response(201, schema=ExecutionSchema, description="The new execution, from the start")
@blp.alt_response(404, "NOT_FOUND")
@blp.alt_response(409, "CONFLICT")
def retry(
    query: dict[str, Any], body: dict[str, Any], execution_id: str
) -> Execution | tuple[Execution, int]:
    """Run failed nodes again.

    Possible whenever nodes have failed, also while siblings run, and also when a node waits for
    an attempt of its own policy, which is brought forward. 409 when nothing has failed or the
    execution is completed or cancelled, 422 when a node that is named has not failed: nothing is
    retried then. Of two retries at once one wins and the other gets 409.

    With `version=latest` the whole execution goes on in the newest version: 409 while anything in
    it is running, 422 (`retry.node_missing`) where a node from which it goes on is not there.

    With `fromStart` a new execution of the same payload begins, whatever became of this one,
    which stays as it is.
    """
    here = installation()
    latest = query["version"] == "latest"
    if body["from_start"]:
        execution = _begun_again(here, here.store.get_execution(execution_id), latest=latest)
        here.store.create([execution])
        here.ring()
        return execution, 201
    decide = _decision(here, latest=latest)
    node_ids = body.get("node_ids")
    changed = change(here, execution_id, lambda e: decide(e, node_ids))
    here.ring()
    return changed


@blp.route("/retry", methods=["POST"])
@blp.arguments(RetryManyBody)
@blp.response(200, schema_for(Retried))
def retry_many(body: dict[str, Any]) -> Retried:
    """Run failed nodes of many executions again.

    Looks at the executions that the filter finds, newest first, at most `limit` in a call; go on
    with `nextCursor` until it is null. An execution in which no failed node fits is passed over,
    one that cannot be retried is among the refused, and the others are retried.
    """
    here = installation()
    decide = _decision(here, latest=body.pop("version") == "latest")
    code, node_ids = body.pop("error_code", None), body.pop("node_ids", None)
    left, after = body.pop("limit"), body.pop("cursor", None)
    where, answer = ExecutionFilter(**body), Retried()
    while left:
        size = min(left, AT_ONCE)
        found = here.store.list_executions(
            where, after=after, limit=size + 1, include=("branches", "executed_nodes")
        )
        shown = found[:size]
        last = newest_first(shown[-1]) if len(found) > size else None
        _retry(here, [(e, _failed_nodes(e, code, node_ids)) for e in shown], decide, answer)
        answer.next_cursor = write_cursor(last) if last else None
        if last is None:
            break
        after, left = last, left - size
    if answer.retried:
        here.ring()
    return answer


def _decision(here: Installation, *, latest: bool) -> Decision:
    """Return the function that decides about an execution and the nodes that are asked for."""
    newest = cache(lambda flow_id: here.store.get_flow(flow_id).flow.version)

    def decide(execution: Execution, node_ids: Sequence[str] | None) -> Patch:
        flows: dict[str, Flow] = {}
        if latest:
            flow_id = execution.flow_id
            flows["pinned"] = here.version(flow_id, execution.flow_version)
            flows["version"] = here.version(flow_id, newest(flow_id))
        return engine.retry(execution, node_ids, now=here.clock.now(), **flows)

    return decide


def _begun_again(here: Installation, execution: Execution, *, latest: bool) -> Execution:
    """Return a new execution of the same payload; the contact is what its flow finds in that."""
    flow_id, version = execution.flow_id, execution.flow_version
    if latest:
        version = here.store.get_flow(flow_id).flow.version
    now = here.clock.now()
    begun = engine.start(
        here.version(flow_id, version),
        execution.context["trigger"],
        execution_id=new_id(now),
        now=now,
        limits=here.limits,
    )
    if begun is None:
        message = f"the filter of version {version} of flow {flow_id} says no to this payload"
        raise Invalid([Problem("retry.filtered", "", message)])
    return begun


def _failed_nodes(
    execution: Execution, code: str | None, node_ids: Sequence[str] | None
) -> list[str]:
    """Return the failed nodes of an execution that fit."""
    fitting = []
    for branch in engine.failed_branches(execution):
        node = branch.current_node_id
        run = run_at(branch, execution.executed_nodes)
        error = (run.error if run else None) or {}
        if code in (None, error.get("code")) and (node_ids is None or node in node_ids):
            fitting.append(node)
    return fitting


def _retry(
    here: Installation,
    chosen: Sequence[tuple[Execution, list[str]]],
    decide: Decision,
    answer: Retried,
) -> None:
    """Retry nodes of executions, together where nothing comes between."""
    patches: dict[str, Patch] = {}
    nodes_of = {execution.id: nodes for execution, nodes in chosen if nodes}
    for execution, nodes in chosen:
        try:
            if nodes:
                patches[execution.id] = decide(execution, nodes)
        except FlowkitError as error:
            answer.refused.append(Refusal(execution.id, problems_of(error)[0]))
    answers = here.store.commit(list(patches.values()), now=here.clock.now()) if patches else []
    for execution_id, committed in zip(patches, answers, strict=True):
        try:
            if committed.outcome != "ok":
                nodes = nodes_of[execution_id]
                change(here, execution_id, lambda e, nodes=nodes: decide(e, nodes))
            answer.retried.append(execution_id)
        except FlowkitError as error:
            answer.refused.append(Refusal(execution_id, problems_of(error)[0]))
