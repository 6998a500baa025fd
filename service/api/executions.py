"""Executions: list, detail, cancel, and how one is changed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import marshmallow as ma
from webargs.fields import DelimitedList

from flowkit import engine
from flowkit.errors import Conflict, Invalid
from flowkit.execution import EXECUTION_STATUSES, Execution, ExecutionFilter, Patch
from flowkit.wire import camel, to_wire
from service.api.body import Blueprint
from service.api.installation import Installation, installation
from service.api.paging import PageQuery, page
from service.schemas import Moment, WireSchema, page_of, schema_for

PARTS = {camel(name): name for name in ("context", "branches", "executed_nodes")}
"""What a list shows of an execution only when asked to, by wire name."""
DECISIONS = 20
"""How often a change is decided anew when workers change the execution at the same time."""

ExecutionSchema = schema_for(Execution)
ExecutionItemSchema = schema_for(Execution, optional=frozenset(PARTS))

blp = Blueprint("Executions", __name__, url_prefix="/api/executions", description="What ran.")


class FilterSchema(WireSchema):
    """Which executions are meant: those of `ExecutionFilter`."""

    flow_id = ma.fields.String(data_key="flowId", metadata={"description": "Only of this flow."})
    status = ma.fields.String(validate=ma.validate.OneOf(EXECUTION_STATUSES))
    contact_id = ma.fields.String(
        data_key="contact", metadata={"description": "Only of this contact, by `contactId`."}
    )
    since = Moment(data_key="from", metadata={"description": "Created then or later."})
    until = Moment(data_key="to", metadata={"description": "Created before."})


class ExecutionQuery(FilterSchema, PageQuery):
    """Which executions a list holds."""

    include = DelimitedList(
        ma.fields.String(validate=ma.validate.OneOf(PARTS)),
        metadata={"description": "What is shown beside the head."},
    )


@blp.route("")
@blp.arguments(ExecutionQuery, location="query")
@blp.response(200, page_of(ExecutionItemSchema))
def list_executions(query: dict[str, Any]) -> dict[str, Any]:
    """List executions, newest first."""
    limit, cursor, include = (
        query.pop("limit"),
        query.pop("cursor", None),
        set(query.pop("include", ())),
    )
    found = installation().store.list_executions(
        ExecutionFilter(**query),
        after=cursor,
        limit=limit + 1,
        include=[PARTS[wire] for wire in include],
    )
    hidden = PARTS.keys() - include

    def write(execution: Execution) -> dict[str, Any]:
        return {key: value for key, value in to_wire(execution).items() if key not in hidden}

    return page(found, limit, write)


@blp.route("/<execution_id>")
@blp.response(200, ExecutionSchema)
@blp.alt_response(404, "NOT_FOUND")
def get_execution(execution_id: str) -> Execution:
    """Return one execution with its context, branches and node runs."""
    return installation().store.get_execution(execution_id)


@blp.route("/<execution_id>/cancel", methods=["POST"])
@blp.response(200, ExecutionSchema)
@blp.alt_response(404, "NOT_FOUND")
@blp.alt_response(409, "CONFLICT")
def cancel(execution_id: str) -> Execution:
    """Cancel an execution.

    Possible while it is running or delayed, and 409 when it has ended. What waits ends at once;
    the outcome of a message that is on its way is still recorded.
    """
    here = installation()
    return change(here, execution_id, lambda e: engine.cancel(e, now=here.clock.now()))


def change(
    here: Installation, execution_id: str, decide: Callable[[Execution], Patch]
) -> Execution:
    """Commit what `decide` makes of an execution, deciding anew when it changes meanwhile.

    Raises
    ------
    NotFound, Conflict, Invalid
        There is none, its state does not allow it, or the request does not fit it.
    """
    for attempt in range(DECISIONS):
        execution = here.store.get_execution(execution_id)
        try:
            patch = decide(execution)
        except Invalid as error:
            if attempt == 0:
                raise
            # It fitted when the request came: someone else was faster.
            raise Conflict(f"execution {execution_id} changed meanwhile: {error}") from error
        (answer,) = here.store.commit([patch], now=here.clock.now())
        if answer.outcome == "ok":
            return here.store.get_execution(execution_id)
    raise Conflict(f"execution {execution_id} keeps changing; try again")
