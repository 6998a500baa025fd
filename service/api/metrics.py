"""Counts: of each day that is over, and of what is under way now.

May import `flowkit`, Flask and what is beside it.
"""

from __future__ import annotations

from datetime import date, datetime
from typing import Any

import marshmallow as ma
from flask import Response

from flowkit.errors import Invalid
from flowkit.execution import DayCount
from flowkit.problems import Problem
from flowkit.wire import to_wire
from service.api.body import Blueprint
from service.api.installation import installation
from service.schemas import WireSchema, schema_for

DAYS_MOST = 366
DAYS = 90
"""Days before `to` from which on counts are given when `from` is absent."""
FORM = "text/plain; version=0.0.4; charset=utf-8"
"""Content type of Prometheus' text form."""

blp = Blueprint(
    "Metrics", __name__, url_prefix="/api/metrics", description="What ended, day by day."
)
scrape = Blueprint("Prometheus", __name__, description="For Prometheus.")


class Day(ma.fields.Date):
    """A day in UTC."""

    def _deserialize(self, value: Any, attr: Any, data: Any, **options: Any) -> date:
        try:
            return datetime.strptime(value, "%Y-%m-%d").date()
        except (TypeError, ValueError):
            message = "This is no day: write one such as 2026-11-22."
            raise ma.ValidationError(message) from None


class CountQuery(WireSchema):
    """Which counts are given."""

    flow_id = ma.fields.String(data_key="flowId", metadata={"description": "Only of this flow."})
    since = Day(
        data_key="from",
        metadata={"description": f"The first day (UTC); {DAYS} days before `to` when absent."},
    )
    until = Day(
        data_key="to", metadata={"description": "The day after the last one; today when absent."}
    )


class CountsSchema(WireSchema):
    """Counts, in the order of day, flow, version, node and status."""

    items = ma.fields.List(ma.fields.Nested(schema_for(DayCount)), required=True)


@blp.route("")
@blp.arguments(CountQuery, location="query")
@blp.response(200, CountsSchema)
def list_counts(query: dict[str, Any]) -> dict[str, Any]:
    """List how much ended, by day.

    Executions by status where `nodeId` is null, else runs of that node by status, of executions
    that ended on that day (UTC). Counts are made once, when a day is over, and outlive the
    executions; one that is retried and ends again counts on both days. At most 366 days.
    """
    here = installation()
    until = query.get("until") or here.clock.now().date()
    since = query.get("since") or date.fromordinal(max(1, until.toordinal() - DAYS))
    if (until - since).days > DAYS_MOST:
        message = f"From {since} to {until} are more than {DAYS_MOST} days; ask for fewer."
        raise Invalid([Problem("query.days", "/from", message)])
    counts = here.store.list_counts(flow_id=query.get("flow_id"), since=since, until=until)
    return {"items": to_wire(counts)}


@scrape.route("/metrics")
@scrape.response(200, {"type": "string"}, content_type="text/plain")
def metrics() -> Response:
    """Tell Prometheus what is under way: open executions by status, and how late work is."""
    here = installation()
    now = here.clock.now()
    due = here.store.next_due(now=now)
    late = max(0.0, (now - due).total_seconds()) if due else 0.0
    lines = [
        "# HELP flowkit_executions Executions that have not ended, by status.",
        "# TYPE flowkit_executions gauge",
        *(
            f'flowkit_executions{{status="{status}"}} {number}'
            for status, number in sorted(here.store.count_open().items())
        ),
        "# HELP flowkit_late_seconds How long the branch that is due longest has been due.",
        "# TYPE flowkit_late_seconds gauge",
        f"flowkit_late_seconds {late}",
    ]
    return Response("\n".join(lines) + "\n", content_type=FORM)
