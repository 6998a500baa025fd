"""Which executions a reader asks for: the arguments of a method as the filters of a list.

Owns the reading of these arguments, for everything that reads the history. Imports the core.
"""

from __future__ import annotations

from datetime import datetime
from typing import NoReturn

from flowkit.errors import Invalid
from flowkit.flow import Flow
from flowkit.problems import Problem
from flowkit.wire import iso, parse_iso


def query(
    flow: Flow | str | None,
    status: str | None,
    contact: str | None,
    since: datetime | str | None,
    until: datetime | str | None,
) -> dict[str, str]:
    """Return the filters of the executions list; those that are None are left out.

    Raises
    ------
    Invalid
        When a flow has no id, or a time has no zone.
    """
    flow_id = flow.id if isinstance(flow, Flow) else flow
    if flow is not None and not flow_id:
        _refuse("filter.flow", "flow", "this flow has no id; use the flow that push returned")
    filters = {
        "flowId": flow_id,
        "status": status,
        "contact": contact,
        "from": _moment("since", since),
        "to": _moment("until", until),
    }
    return {name: value for name, value in filters.items() if value is not None}


def _moment(argument: str, value: datetime | str | None) -> str | None:
    if value is None:
        return None
    try:
        return iso(parse_iso(value) if isinstance(value, str) else value)
    except (ValueError, AttributeError):
        _refuse(
            "filter.time",
            argument,
            f"{value!r} is not a moment: write an aware datetime such as "
            "datetime(2026, 11, 22, tzinfo=UTC), or '2026-11-22T00:00:00Z'",
        )


def _refuse(code: str, argument: str, message: str) -> NoReturn:
    raise Invalid([Problem(code, f"/{argument}", message)])
