"""What `flowkit.client.Client` says of broadcasts, and how contacts are streamed to the service.

May import the core and `connection`; pandas is imported only when a frame is handed in.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from flowkit.connection import Connection
from flowkit.errors import Invalid
from flowkit.expression import Expr
from flowkit.flow import Flow
from flowkit.problems import Problem, pointer

if TYPE_CHECKING:
    import pandas as pd

PART_BYTES = 65_536
"""Lines are sent in parts of about this size."""


class BroadcastCalls(Connection):
    """The methods of `Client` about broadcasts."""

    def broadcast(
        self,
        flow: Flow | str,
        contacts: Iterable[Mapping[str, Any]] | pd.DataFrame | None = None,
        *,
        filter: Expr | Any = None,
        per_second: float | None = None,
    ) -> dict[str, Any]:
        """Start one flow for many contacts.

        Parameters
        ----------
        flow : Flow or str
            An active flow that has been pushed, or its id.
        contacts : iterable of mappings, or pandas.DataFrame
            Whom: each has an ``id``, a ``user_id`` or a ``phone``. They are sent as they come,
            never all held at once; what a frame does not know of a contact is left out.
        filter : Expr or JSONLogic, in place of `contacts`
            Which of the contacts that the service has stored, such as
            ``fk.contact.country == "BR"``.
        per_second : float, optional
            The pace in executions a second, 0.001 to 100,000; as fast as it can without.

        Returns
        -------
        dict
            ``{id, status, total, created, refused, skipped, problems, ...}``; read how far it
            is with `broadcast_status`. Contacts that the service refuses are among the problems,
            by line, from 1, and the others go on.

        Raises
        ------
        ServiceError
            When the flow is not active (409) or no contact can be used (422).
        Invalid
            When an argument cannot be sent; nothing is started then.
        """
        flow_id = flow.id if isinstance(flow, Flow) else flow
        if not flow_id:
            raise _refusal("/flow", "this flow has no id; use the flow that push returned")
        if (contacts is None) == (filter is None):
            raise _refusal("/contacts", "hand in contacts or a filter, one of the two")
        path = f"/api/flows/{quote(flow_id, safe='')}/broadcast"
        params = None if per_second is None else {"perSecond": repr(float(per_second))}
        if contacts is None:
            logic = filter.to_jsonlogic() if isinstance(filter, Expr) else filter
            return self._call("POST", path, params=params, json={"filter": logic})
        headers = {"Content-Type": "application/x-ndjson"}
        told = self._call("POST", path, params=params, content=_parts(contacts), headers=headers)
        # A stream has no length, so only this end knows that all of it has been sent.
        return self.resume_broadcast(told["id"]) if told.get("status") == "paused" else told

    def broadcast_status(self, broadcast_id: str) -> dict[str, Any]:
        """Return a broadcast and how far it is."""
        return self._call("GET", _path(broadcast_id))

    def pause_broadcast(self, broadcast_id: str) -> dict[str, Any]:
        """Create no further executions until it is resumed; what has started goes on."""
        return self._call("POST", _path(broadcast_id) + "/pause")

    def resume_broadcast(self, broadcast_id: str) -> dict[str, Any]:
        """Let a paused broadcast go on."""
        return self._call("POST", _path(broadcast_id) + "/resume")

    def cancel_broadcast(self, broadcast_id: str) -> dict[str, Any]:
        """Create no further executions for good; what has started goes on."""
        return self._call("POST", _path(broadcast_id) + "/cancel")

    def pace_broadcast(self, broadcast_id: str, per_second: float | None) -> dict[str, Any]:
        """Change the pace, in executions a second; None for no limit."""
        return self._call("PATCH", _path(broadcast_id), json={"perSecond": per_second})


def _path(broadcast_id: str) -> str:
    return "/api/broadcasts/" + quote(broadcast_id, safe="")


def _parts(contacts: Iterable[Mapping[str, Any]] | pd.DataFrame) -> Iterator[bytes]:
    """Yield contacts as NDJSON, many lines at once."""
    part = bytearray()
    for i, row in enumerate(_rows(contacts)):
        if not isinstance(row, Mapping):
            raise _refusal(pointer("contacts", i), f"a contact is a mapping, not {row!r:.60}")
        try:
            part += json.dumps(dict(row), default=_plain, allow_nan=False).encode() + b"\n"
        except (TypeError, ValueError) as error:
            raise _refusal(pointer("contacts", i), f"this is not JSON: {error}") from error
        if len(part) >= PART_BYTES:
            yield bytes(part)
            part.clear()
    if part:
        yield bytes(part)


def _rows(contacts: Iterable[Mapping[str, Any]] | pd.DataFrame) -> Iterator[Mapping[str, Any]]:
    if not hasattr(contacts, "itertuples"):
        yield from contacts
        return
    import pandas as pd

    frame: pd.DataFrame = contacts  # type: ignore[assignment]
    names = [str(column) for column in frame.columns]
    for row in frame.itertuples(index=False, name=None):
        yield {
            name: value
            for name, value in zip(names, row, strict=True)
            if not (pd.api.types.is_scalar(value) and pd.isna(value))
        }


def _plain(value: Any) -> Any:
    """Return what JSON can say of a value of a frame."""
    for method in ("isoformat", "item"):
        if hasattr(value, method):
            return getattr(value, method)()
    raise TypeError(f"{value!r:.60} has no form in JSON")


def _refusal(path: str, message: str) -> Invalid:
    return Invalid([Problem("broadcast.argument", path, message)])
