"""The contract of a store: what it keeps, what is atomic, who may call what.

A store is dialect only: it keeps records and applies patches under their guards. Every rule
(what happens next, what a status is, when a patch is refused) is pure code in `flowkit`.
`flowkit.testing.StoreContract` is the suite that each implementation must pass.
May import `flowkit`; never Flask, huey or a driver of a database.

Terms
-----
*Durable* means: survives a power loss once the call has returned. Everything that a 2xx answer
or an effect rests on is durable; pure progress need only survive the death of a process.

*Claimable* is a branch that is ``ready`` (at any time), ``waiting`` with ``resume_at`` at or
before now, or ``running`` under a lease of another worker that has run out. A lease that ends
later than now plus twice its own length was given before the clock went back, and has run out
too. (Twice, because a caller that waited for its turn has an older idea of now than the one that
got a lease meanwhile.)

*Time* is always passed in; a store reads no clock. All calls may be made from any thread and
any process at once. A store that cannot do what is asked for reasons of its own (disk full,
server gone) raises its driver's error; nothing is half-done then.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import NamedTuple, Protocol

from flowkit.execution import (
    Answer,
    BranchRef,
    Claim,
    Execution,
    ExecutionFilter,
    PageKey,
    Patch,
)
from flowkit.flow import Flow


class StoredFlow(NamedTuple):
    """A flow as stored, and the revision that guards its next change."""

    flow: Flow
    revision: int


class Store(Protocol):
    """Keeps flows and executions. Called by the API (flows, start, read) and by the worker."""

    # ------------------------------------------------------------------ flows

    def insert_flow(self, flow: Flow, *, publish: bool) -> None:
        """Add a flow; with `publish`, its content also as the snapshot of ``flow.version``.

        Atomic and durable. Raises `Conflict` when a flow has that id, or a snapshot is left of
        one that had it.
        """
        ...

    def replace_flow(self, flow: Flow, *, revision: int, publish: bool) -> None:
        """Put `flow` in the place of the stored one, if that still has `revision`.

        Atomic and durable, the snapshot included. Raises `Conflict` when the revision has
        passed or the flow is gone. A snapshot once written never changes.
        """
        ...

    def delete_flow(self, flow_id: str) -> None:
        """Remove a flow.

        Its snapshots stay: executions refer to them, also one that a trigger is just creating.
        Atomic and durable. Raises `NotFound`, or `Conflict` while an execution of it is
        running or delayed.
        """
        ...

    def get_flow(self, flow_id: str) -> StoredFlow:
        """Return a flow as stored last. Raises `NotFound`."""
        ...

    def get_version(self, flow_id: str, version: int) -> Flow:
        """Return the snapshot of a published version. Raises `NotFound`."""
        ...

    def list_flows(
        self,
        *,
        trigger_type: str | None = None,
        is_active: bool | None = None,
        after: PageKey | None = None,
        limit: int,
    ) -> list[Flow]:
        """Return flows, newest first."""
        ...

    def active_versions(self, trigger_type: str) -> list[tuple[str, int]]:
        """Return (flow id, version) of each active flow of a trigger type, oldest first."""
        ...

    # -------------------------------------------------------------- executions

    def create(self, executions: Sequence[Execution]) -> None:
        """Add executions with their root branches; all or none, durable.

        Raises `Conflict` when an execution has one of the ids.
        """
        ...

    def get_execution(self, execution_id: str) -> Execution:
        """Return an execution whole, its branches and runs in order. Raises `NotFound`."""
        ...

    def list_executions(
        self,
        where: ExecutionFilter,
        *,
        after: PageKey | None = None,
        limit: int,
        include: Iterable[str] = (),
    ) -> list[Execution]:
        """Return executions, newest first.

        `include` names what is filled in beside the head: ``context``, ``branches``,
        ``executed_nodes``.
        """
        ...

    # ------------------------------------------------------------------ worker

    def claim(
        self,
        owner: str,
        *,
        now: datetime,
        lease_ms: int,
        limit: int,
        expired: bool = True,
    ) -> list[Claim]:
        """Take at most `limit` claimable branches for `owner`, those longest claimable first.

        Each becomes ``running`` under a lease until now plus `lease_ms` (> 0), and its epoch
        rises by one; an execution whose waiting branch is taken is ``running`` again. No
        branch is given to two callers. One atomic step for the batch; not durable. Branches
        of one execution come in one claim. With ``expired=False``, leases that seem to have
        run out are left alone.
        """
        ...

    def renew(self, refs: Sequence[BranchRef], *, now: datetime, lease_ms: int) -> list[BranchRef]:
        """Extend the leases of the branches under these claims; return those that are no longer."""
        ...

    def release(self, refs: Sequence[BranchRef], *, now: datetime) -> None:
        """Give up claims: those that still hold make their branches ``ready``.

        Their epochs rise, so that a commit under a claim that was given up is fenced.
        """
        ...

    def commit(self, patches: Sequence[Patch], *, now: datetime, lease_ms: int = 0) -> list[Answer]:
        """Apply patches, each all or nothing under its guards (`flowkit.execution.judge`).

        The branch counts, ``bytes``, the status (`flowkit.execution.status_of`), ``resume_at``
        (the earliest of any waiting branch), ``flow_version`` where a patch has one,
        ``revision``, ``updated_at`` and ``ended_at`` of each execution change in the same atomic
        step. Spawned branches that are ``running`` are
        under the caller's claim, with a lease of `lease_ms`. Durable when one of the patches
        asks for it. The patches are of different executions. Answers in the order of the
        patches; a patch of an execution that does not exist is ``fenced``.
        """
        ...

    def next_due(self, *, now: datetime) -> datetime | None:
        """Return when the next branch becomes claimable: `now` or before if one is; None if none.

        Leases count by their end.
        """
        ...

    # ------------------------------------------------------------------- life

    @property
    def transactions(self) -> int:
        """How many writes this client has committed, batches counting as one."""
        ...

    def ping(self) -> None:
        """Raise the driver's error unless the store can be read."""
        ...

    def close(self) -> None:
        """Release connections; further calls fail."""
        ...
