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
before now (never without one), or ``running`` under a lease of another worker that has run out. A
lease that ends later than now plus twice its own length was given before the clock went back, and
has run out too. (Twice, because a caller that waited for its turn has an older idea of now than
the one that got a lease meanwhile.)

*Parked* is a ready branch of a paused flow that a worker has put aside: nobody claims it until
`unhold` makes it claimable again.

*Time* is always passed in; a store reads no clock. All calls may be made from any thread and
any process at once. A store that cannot do what is asked for reasons of its own raises
`StoreUnavailable` when its server does not answer, else its driver's error (disk full); no patch
is half-applied then.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import date, datetime, timedelta
from typing import NamedTuple, Protocol

from flowkit.broadcast import Broadcast
from flowkit.contacts import Contact
from flowkit.execution import (
    Answer,
    BranchRef,
    Claim,
    DayCount,
    Execution,
    ExecutionFilter,
    PageKey,
    Patch,
)
from flowkit.flow import Flow, FlowVersion
from flowkit.options import Entry
from service.store.cells import Cells


class StoredFlow(NamedTuple):
    """A flow as stored, and the revision that guards its next change.

    The revision is 1 when a flow is inserted, and rises by one each time it is replaced.
    """

    flow: Flow
    revision: int


class TriggerKey(NamedTuple):
    """An idempotency key as first seen: what it stands for, and what it pinned.

    `id` is derived from the key and what it is unique within; `digest` from the body that came
    with it. The ids of the executions are derived from `seed`, so that whoever comes second
    makes the same ones.
    """

    id: str
    digest: str
    seed: str
    versions: tuple[tuple[str, int], ...]
    created_at: datetime


class ApiKey(NamedTuple):
    """A named key of the API: only its SHA-256 digest is kept."""

    name: str
    digest: str
    created_at: datetime


class Flows(Protocol):
    """Flows and their published versions; called by the API."""

    def insert_flow(
        self,
        flow: Flow,
        *,
        publish: bool,
        author: str | None = None,
        message: str | None = None,
    ) -> None:
        """Add a flow; with `publish`, its content also as the snapshot of ``flow.version``.

        `author` and `message` are kept with the snapshot, and ``flow.updated_at`` as its time.

        Atomic and durable. Raises `Conflict` when a flow has that id, or a snapshot is left of
        one that had it.
        """
        ...

    def replace_flow(
        self,
        flow: Flow,
        *,
        revision: int,
        publish: bool,
        author: str | None = None,
        message: str | None = None,
    ) -> None:
        """Put `flow` in the place of the stored one, if that still has `revision`.

        Atomic and durable, the snapshot included. Raises `Conflict` when the revision has
        passed or the flow is gone. A snapshot once written never changes.
        """
        ...

    def delete_flow(self, flow_id: str, *, revision: int | None = None) -> None:
        """Remove a flow, if it still has `revision` where one is given.

        Its snapshots stay: executions refer to them, also one that a trigger is just creating.
        Atomic and durable. Raises `NotFound`, or `Conflict` while an execution of it is
        running or delayed, or when the revision has passed.
        """
        ...

    def get_flow(self, flow_id: str) -> StoredFlow:
        """Return a flow as stored last. Raises `NotFound`."""
        ...

    def get_version(self, flow_id: str, version: int) -> Flow:
        """Return the snapshot of a published version. Raises `NotFound`."""
        ...

    def list_versions(
        self, flow_id: str, *, before: int | None = None, limit: int
    ) -> list[FlowVersion]:
        """Return the published versions of a flow, newest first, those under `before`.

        None is an empty list, also for a flow that does not exist.
        """
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

    def paused_flows(self) -> frozenset[str]:
        """Return the ids of the flows that are paused."""
        ...


class Executions(Protocol):
    """Executions, as they are created, read and removed; called by the API and by chores."""

    def create(
        self,
        executions: Sequence[Execution],
        *,
        absent: bool = False,
        entry: Mapping[str, Entry] = {},
    ) -> list[str]:
        """Add executions with their root branches, durable.

        All or none: raises `Conflict` when an execution has one of the ids. With `absent`,
        those whose id is taken are left as they are, and the others are added.

        `entry` has the policies of flows, by flow id. An execution with a contact is left out
        where the policy refuses it (`flowkit.entry.may_enter`, on the contact's last entry under
        a policy, which is kept longer than the execution): of several at once for one contact,
        as many enter as would one after the other. Returns the ids of those left out.
        """
        ...

    def get_execution(self, execution_id: str) -> Execution:
        """Return an execution whole, branches, runs and inbox in order. Raises `NotFound`."""
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

    def list_ended(
        self, *, before: datetime, after: PageKey | None = None, limit: int
    ) -> list[Execution]:
        """Return whole executions that ended before a moment, in the order of (ended_at, id).

        `after` holds the ``ended_at`` and id of the last one of the page before.
        """
        ...

    def list_owing(self, *, after: PageKey | None = None, limit: int) -> list[Execution]:
        """Return the heads of executions that have ended and still owe that to others.

        Ordered and paged as by `list_ended`.
        """
        ...

    def delete_ended(self, refs: Sequence[tuple[str, int]]) -> int:
        """Remove executions by (id, revision), if they are ended and still at that revision.

        Returns how many were removed. Durable.
        """
        ...

    def expire(self, *, executions: datetime | None, keys: datetime, limit: int) -> int:
        """Remove executions that ended, and trigger keys that were made, before these moments.

        Also cells that need not be kept since `keys`, and what was answered of cells before it.
        At most `limit` of each a call; returns how many were removed. A store that lets records
        expire by itself removes none here.
        """
        ...

    def roll_up(self, day: date) -> None:
        """Count anew the executions that ended on a day (UTC), and their node runs.

        Replaces what was counted for that day. Durable.
        """
        ...

    def list_counts(
        self, *, flow_id: str | None = None, since: date, until: date
    ) -> list[DayCount]:
        """Return the counts of days from `since` to before `until`.

        In the order of day, flow, version, node (the execution's own count first) and status.
        """
        ...

    def count_open(self) -> dict[str, int]:
        """Return how many executions are ``running`` and how many ``delayed``, by status."""
        ...


class Work(Protocol):
    """Branches: claimed, advanced and let go; called by the worker, `commit` also by the API."""

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

    def release(self, refs: Sequence[BranchRef], *, now: datetime, hold: bool = False) -> None:
        """Give up claims: those that still hold make their branches ``ready``.

        Their epochs rise, so that a commit under a claim that was given up is fenced. With
        `hold` the branches are parked.
        """
        ...

    def held_flows(self) -> frozenset[str]:
        """Return the ids of the flows of which executions have parked branches."""
        ...

    def unhold(self, flow_id: str, *, now: datetime, limit: int) -> int:
        """Make the parked branches of at most `limit` executions of a flow claimable.

        Returns of how many executions.
        """
        ...

    def commit(self, patches: Sequence[Patch], *, now: datetime, lease_ms: int = 0) -> list[Answer]:
        """Apply patches, each all or nothing under its guards (`flowkit.execution.judge`).

        The branch counts, ``bytes``, the status (`flowkit.execution.status_of`), ``resume_at``
        (the earliest of any waiting branch), ``flow_version`` where a patch has one,
        ``revision``, ``updated_at`` and ``ended_at`` of each execution change in the same atomic
        step, as does the inbox. Spawned branches that are ``running`` are
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


class Contacts(Protocol):
    """Contacts, as triggers told of them last, with what flows have changed since.

    The changes are kept in the cell `flowkit.contacts.cell_of`, and `flowkit.contacts.shown` puts
    the two together.
    """

    def save_contacts(self, contacts: Sequence[Contact]) -> None:
        """Add contacts, or put them in the place of those with their ids that are older.

        Older is an earlier ``updated_at``; ``created_at`` stays that of the first.
        """
        ...

    def get_contact(self, contact_id: str) -> Contact:
        """Return a contact. Raises `NotFound`."""
        ...

    def list_contacts(self, *, after: str | None = None, limit: int) -> list[Contact]:
        """Return contacts in the order of their ids, those behind `after`."""
        ...


class Triggers(Protocol):
    """Idempotency keys of triggers."""

    def pin(self, key: TriggerKey) -> TriggerKey:
        """Keep a key, unless one with its id is kept; return the one that is. Durable, atomic."""
        ...


class Broadcasts(Protocol):
    """Broadcasts and the recipients that were handed in with them."""

    def insert_broadcast(self, broadcast: Broadcast) -> None:
        """Add a broadcast. Durable. Raises `Conflict` when the id is taken."""
        ...

    def replace_broadcast(self, broadcast: Broadcast) -> None:
        """Put a broadcast in the place of the stored one, if that has the revision before it.

        Durable, atomic: ``broadcast.revision`` is one more than the stored one's. Raises
        `Conflict` otherwise, `NotFound` when there is none.
        """
        ...

    def get_broadcast(self, broadcast_id: str) -> Broadcast:
        """Return a broadcast. Raises `NotFound`."""
        ...

    def list_broadcasts(
        self, *, flow_id: str | None = None, after: PageKey | None = None, limit: int
    ) -> list[Broadcast]:
        """Return broadcasts, newest first."""
        ...

    def due_broadcasts(self, *, now: datetime, limit: int) -> list[Broadcast]:
        """Return broadcasts whose ``next_at`` has come, those longest due first.

        Whatever their status: one that broke off while it was handed in, or was cancelled, has
        something left to be cleared away.
        """
        ...

    def put_recipients(self, broadcast_id: str, number: int, recipients: Sequence[object]) -> None:
        """Keep a batch of recipients (JSON values) under its number, from 0. Durable.

        Takes the place of one that has the number already.
        """
        ...

    def get_recipients(self, broadcast_id: str, number: int) -> list[object]:
        """Return a batch of recipients. Raises `NotFound`."""
        ...

    def delete_recipients(self, broadcast_id: str) -> None:
        """Forget the recipients of a broadcast that has ended."""
        ...


class Keys(Protocol):
    """Keys of the API, by name."""

    def insert_api_key(self, key: ApiKey) -> None:
        """Add a key. Durable. Raises `Conflict` when the name is taken."""
        ...

    def list_api_keys(self) -> list[ApiKey]:
        """Return all keys, by name."""
        ...

    def find_api_key(self, digest: str) -> ApiKey | None:
        """Return the key with that digest, or None."""
        ...

    def delete_api_key(self, name: str) -> None:
        """Remove a key. Raises `NotFound`."""
        ...


class Elections(Protocol):
    """Leases on duties that one process has at a time, such as the sweep."""

    def elect(self, duty: str, owner: str, *, now: datetime, lease_ms: int) -> bool:
        """Take or renew a duty until now plus `lease_ms`; return whether `owner` has it.

        It is given when nobody has it, `owner` has it, or the lease has run out (as a branch's
        lease does, also one from the future). Atomic.
        """
        ...

    def resign(self, duty: str, owner: str) -> None:
        """Give up a duty, if `owner` has it."""
        ...


class Store(
    Flows, Executions, Work, Contacts, Cells, Triggers, Broadcasts, Keys, Elections, Protocol
):
    """All that is kept, by one client of it."""

    @property
    def transactions(self) -> int:
        """How many writes this client has committed, batches counting as one."""
        ...

    def clock_offset(self) -> timedelta | None:
        """Return by how much the store's clock is ahead of this machine's wall clock.

        None when it has none of its own: its clients are all on this machine.
        """
        ...

    def ping(self) -> None:
        """Raise the driver's error unless the store can be read."""
        ...

    def close(self) -> None:
        """Release connections; further calls fail."""
        ...
