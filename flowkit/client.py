"""The HTTP client of the service: push flows, trigger them, read what happened.

Owns what can be asked of a service; `connection` owns how. Imports httpx and the core; pandas is
loaded through `flowkit.history` when a frame is asked for, not before.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime
from typing import TYPE_CHECKING, Any

import httpx

from flowkit.broadcast_calls import BroadcastCalls
from flowkit.connection import PAGE_SIZE, Progress, path_of, refuse
from flowkit.execution import Execution
from flowkit.flow import Flow
from flowkit.selection import query as _query
from flowkit.wire import from_wire

if TYPE_CHECKING:
    import pandas as pd


class Client(BroadcastCalls):
    """A connection to a flowkit service; also a context manager that closes it.

    Whatever goes wrong between here and there is a `ServiceError`: ``status`` is the HTTP status
    of an answer that is not a success (401 wrong key, 404 no such id, 409 the state has passed,
    422 refused) and ``problems`` says why; ``status`` 0 means that no answer came. Arguments
    that cannot be sent are `Invalid` and nothing is sent. The methods may be called from
    several threads.

    Parameters
    ----------
    base_url : str
        Where the service listens, such as ``http://127.0.0.1:5000``.
    api_key : str
        The service's key. It is sent with each request and shown nowhere.
    transport : httpx.BaseTransport, optional
        Replaces the network, in tests.
    timeout : float
        Seconds to wait for a connection and for each part of an answer; a waiting trigger
        answers within 10 s.

    Examples
    --------
    ::

        with fk.Client("http://127.0.0.1:5000", api_key=key) as client:
            flow = client.push(flow)
            client.trigger("cart_abandoned", {"contact": {"phone": "+5511990000000"}})
            client.executions(flow=flow, status="failed")
    """

    def __init__(
        self,
        base_url: str,
        *,
        api_key: str,
        transport: httpx.BaseTransport | None = None,
        timeout: float = 30.0,
    ) -> None:
        super().__init__(base_url, api_key=api_key, transport=transport, timeout=timeout)
        # The ETags of the flows that were read, each of which is known by when it was stored.
        self._tags: dict[tuple[str | None, datetime | None], str] = {}

    def push(
        self,
        flow: Flow,
        activate: bool = True,
        *,
        author: str | None = None,
        message: str | None = None,
    ) -> Flow:
        """Store `flow` at the service and return it as stored, with its id and version.

        A flow with an id updates the flow of that id. One without updates the flow of the same
        name, or becomes a new flow when there is none; two pushes of a new name at the same
        moment may make two flows.

        What was made of a flow that `flow` or `push` of this client returned is stored only
        if nobody has changed that flow since: no change of another is overwritten unseen.

        Parameters
        ----------
        flow : Flow
            What is to be stored; it is not changed.
        activate : bool
            Whether triggers start the flow from now on. False stores a draft, which may have
            errors, and ends the starts of a flow that was active; executions under way go on.
        author, message : str, optional
            Who publishes and why: kept with the version, if the push makes one.

        Raises
        ------
        ServiceError
            When the service refuses the flow (422, with the problems of the flow), or it was
            changed since it was read (412): nothing is stored.
        Invalid
            When several flows have that name: push one that has an id.
        """
        document = flow.to_dict() | {"isActive": activate}
        flow_id = flow.id or self._id_of(flow.name)
        said = {"author": author, "message": message}
        params = {name: value for name, value in said.items() if value is not None}
        if flow_id is None:
            return self._stored("POST", "/api/flows", json=document, params=params)
        tag = self._tags.get((flow.id, flow.updated_at))
        return self._stored(
            "PUT",
            path_of("flows", flow_id),
            json=document | {"id": flow_id},
            params=params,
            headers={"If-Match": tag} if tag else None,
        )

    def flows(self) -> list[Flow]:
        """Return all flows."""
        return [_flow(document) for document in self._items("/api/flows", {})]

    def flow(self, flow_id: str) -> Flow:
        """Return one flow as it is stored now."""
        return self._stored("GET", path_of("flows", flow_id))

    def version(self, flow_id: str, version: int) -> Flow:
        """Return a published version of a flow."""
        return _flow(self._call("GET", path_of("flows", flow_id, "versions", str(version))))

    def deployed(self, flow: Flow) -> Flow | None:
        """Return the flow that a push of `flow` would update, or None when it would be new.

        Raises
        ------
        Invalid
            When several flows have the name of `flow`, which has no id.
        """
        flow_id = flow.id or self._id_of(flow.name)
        return None if flow_id is None else self.flow(flow_id)

    def under_way(self, flow: Flow | str) -> dict[int, dict[str, int]]:
        """Return how many executions of a flow have not ended, by version and status."""
        counts: dict[int, dict[str, int]] = {}
        for status in ("running", "delayed"):
            query = _query(flow, status, None, None, None)
            for execution in self._items("/api/executions", query):
                if execution["status"] == status:
                    of_version = counts.setdefault(execution["flowVersion"], {})
                    of_version[status] = of_version.get(status, 0) + 1
        return counts

    def trigger(
        self,
        trigger_type: str,
        payload: Any,
        wait: bool = False,
        *,
        idempotency_key: str | None = None,
    ) -> dict[str, Any]:
        """Start every active flow of a trigger type, as a webhook does.

        Parameters
        ----------
        trigger_type : str
            Such as ``cart_abandoned``.
        payload : JSON
            What the flows see as ``trigger``.
        wait : bool
            Answer when every execution has left ``running``, at the latest after 10 s.
        idempotency_key : str, optional
            Names the event, in 1 to 255 visible ASCII characters: sent again with the same
            payload, it starts nothing anew and is answered as the first time.

        Returns
        -------
        dict
            ``{triggerType, executions: [{executionId, flowId, flowVersion, status}], problems}``;
            the executions are stored. No flow of that type is an empty list, not an error.
        """
        path = path_of("flows", "trigger", trigger_type)
        headers = {} if idempotency_key is None else {"Idempotency-Key": idempotency_key}
        params = {"wait": "true"} if wait else None
        return self._call("POST", path, params=params, json=payload, headers=headers)

    def executions(
        self,
        flow: Flow | str | None = None,
        status: str | None = None,
        contact: str | None = None,
        since: datetime | str | None = None,
        until: datetime | str | None = None,
        limit: int | None = None,
        *,
        progress: Progress | None = None,
    ) -> pd.DataFrame:
        """Return executions, one row each: the columns of `flowkit.history.executions`.

        Parameters
        ----------
        flow : Flow or str, optional
            Only this flow's; a flow that has been pushed, or a flow's id.
        status : str, optional
            Only these: running, delayed, completed, failed or cancelled.
        contact : str, optional
            Only this contact's, by ``contactId``.
        since, until : datetime, pandas.Timestamp or ISO 8601 text, optional
            Only those created at `since` or later and before `until`. A time without a zone is
            refused.
        limit : int, optional
            At most this many, the newest; all without.
        progress : callable, optional
            Called after each page with the number of executions read so far.

        Returns
        -------
        pandas.DataFrame
            Ordered by creation; the same columns and dtypes when nothing matches.
        """
        query = _query(flow, status, contact, since, until)
        from flowkit import history

        return history.executions(self._items("/api/executions", query, limit, progress))

    def node_runs(
        self,
        flow: Flow | str | None = None,
        status: str | None = None,
        contact: str | None = None,
        since: datetime | str | None = None,
        until: datetime | str | None = None,
        limit: int | None = None,
        *,
        progress: Progress | None = None,
    ) -> pd.DataFrame:
        """Return node runs, one row each: the columns of `flowkit.history.node_runs`.

        The parameters choose executions, as those of `executions` do (also `status` and
        `limit`); all runs of these are returned. While executions run, each is read at a
        slightly different moment.
        """
        query = _query(flow, status, contact, since, until) | {"include": "executedNodes"}
        from flowkit import history

        return history.node_runs(self._items("/api/executions", query, limit, progress))

    def triggers(
        self,
        flow: Flow | str | None = None,
        contact: str | None = None,
        since: datetime | str | None = None,
        until: datetime | str | None = None,
        limit: int | None = None,
        *,
        progress: Progress | None = None,
    ) -> pd.DataFrame:
        """Return what started executions, one row each: the columns of `history.triggers`.

        The parameters choose executions, as those of `executions` do.
        """
        query = _query(flow, None, contact, since, until) | {"include": "context"}
        from flowkit import history

        return history.triggers(self._items("/api/executions", query, limit, progress))

    def counts(
        self,
        flow: Flow | str | None = None,
        since: date | str | None = None,
        until: date | str | None = None,
    ) -> pd.DataFrame:
        """Return how much ended, day by day: the columns of `flowkit.history.counts`.

        Counts outlive the executions that they are of. A day is counted once, when it is over.

        Parameters
        ----------
        flow : Flow or str, optional
            Only this flow's; a flow that has been pushed, or a flow's id.
        since, until : date or ISO 8601 text, optional
            Days (UTC), from `since` to before `until`; the last 90 without. At most 366.

        Returns
        -------
        pandas.DataFrame
            In the order of day, flow, version, node and status.
        """
        asked = _query(flow, None, None, None, None)
        asked |= {name: str(day) for name, day in (("from", since), ("to", until)) if day}
        answer = self._call("GET", "/api/metrics", params=asked)
        if not isinstance(answer.get("items"), list):
            raise self._foreign(200)
        from flowkit import history

        return history.counts(answer["items"])

    def execution(self, execution_id: str) -> Execution:
        """Return one execution with its context, branches and node runs."""
        return from_wire(Execution, self._call("GET", path_of("executions", execution_id)))

    def retry(
        self,
        execution_id: str,
        node_ids: Sequence[str] | None = None,
        *,
        latest: bool = False,
        from_start: bool = False,
    ) -> Execution:
        """Run failed nodes of an execution again and return the execution.

        Parameters
        ----------
        execution_id : str
            Of an execution with failed runs, also while sibling branches run or while a run
            waits for its next attempt.
        node_ids : sequence of str, optional
            Which; all that have failed without.
        latest : bool
            Go on in the newest published version of the flow.
        from_start : bool
            Start a new execution with the same payload instead, whatever became of this one, and
            return that.

        Raises
        ------
        ServiceError
            409 when nothing has failed, it was cancelled, or it is at work and to go on in
            another version; 422 when one of `node_ids` has not failed or the newest version
            lacks a node. Nothing is changed then.
        """
        body: dict[str, Any] = {} if node_ids is None else {"nodeIds": list(node_ids)}
        if from_start:
            body["fromStart"] = True
        path = path_of("executions", execution_id, "retry")
        params = {"version": "latest"} if latest else None
        return from_wire(Execution, self._call("POST", path, params=params, json=body))

    def retry_all(
        self,
        flow: Flow | str | None = None,
        status: str | None = None,
        contact: str | None = None,
        since: datetime | str | None = None,
        until: datetime | str | None = None,
        *,
        error_code: str | None = None,
        node_ids: Sequence[str] | None = None,
        latest: bool = False,
        progress: Progress | None = None,
    ) -> dict[str, Any]:
        """Run the failed nodes of all executions again that the parameters choose.

        Parameters
        ----------
        flow, contact, since, until : optional
            As those of `executions`.
        status : str, optional
            failed without; or running or delayed, for branches that failed beside others.
        error_code : str, optional
            Only nodes whose error has this code.
        node_ids : sequence of str, optional
            Only these nodes.
        latest : bool
            Go on in the newest published version of the flow.
        progress : callable, optional
            Called after each page with the number of executions retried so far.

        Returns
        -------
        dict
            ``{retried: [id], refused: [{executionId, problem}]}``.
        """
        body: dict[str, Any] = {**_query(flow, status, contact, since, until), "limit": PAGE_SIZE}
        more = {"errorCode": error_code, "nodeIds": None if node_ids is None else list(node_ids)}
        body |= {name: value for name, value in more.items() if value is not None}
        body |= {"version": "latest"} if latest else {}
        answer: dict[str, Any] = {"retried": [], "refused": []}
        while True:
            page = self._call("POST", path_of("executions", "retry"), json=body)
            if not page.keys() >= {*answer, "nextCursor"}:
                raise self._foreign(200)
            for name, found in answer.items():
                found += page[name]
            if progress is not None:
                progress(len(answer["retried"]))
            if page["nextCursor"] is None:
                return answer
            body["cursor"] = page["nextCursor"]

    def cancel(self, execution_id: str) -> Execution:
        """Cancel an execution and return it; one that has ended is a `ServiceError` 409."""
        path = path_of("executions", execution_id, "cancel")
        return from_wire(Execution, self._call("POST", path))

    def node_types(self) -> list[dict[str, Any]]:
        """Return the service's node types: type, title, handles and config schema of each."""
        return list(self._items("/api/node-types", {}))

    def health(self) -> dict[str, Any]:
        """Return what the service says of itself; a `ServiceError` when it is not there."""
        return self._call("GET", "/healthz")

    def _id_of(self, name: str) -> str | None:
        ids = [flow.id for flow in self.flows() if flow.name == name]
        if len(ids) > 1:
            refuse(
                "flow.ambiguous",
                "name",
                f"several flows are named {name!r} ({', '.join(map(str, ids))}); "
                "push one that client.flow(id) returned",
            )
        return ids[0] if ids else None

    def _stored(self, method: str, path: str, **request: Any) -> Flow:
        """Make one request and return the flow that it answers, whose ETag is remembered."""
        content, headers = self._exchange(method, path, **request)
        flow = _flow(content)
        if "ETag" in headers:
            self._tags[flow.id, flow.updated_at] = headers["ETag"]
        return flow


def _flow(document: dict[str, Any]) -> Flow:
    return Flow.from_dict({key: value for key, value in document.items() if key != "problems"})
