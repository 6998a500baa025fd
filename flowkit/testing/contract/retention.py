"""What every store must do with executions that have ended: list, count, let go."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from typing import Any

import pytest

from flowkit import engine
from flowkit.engine import Ended, Event, Resume
from flowkit.errors import NotFound
from flowkit.execution import DayCount, Execution, ExecutionFilter, PageKey
from flowkit.nodetype import Outcome
from flowkit.testing.contract.clients import Clients
from flowkit.testing.examples import EPOCH, SIMPLE, started

DAY = timedelta(days=1)
FAILED = Outcome("failed", error={"code": "no", "message": "No.", "transient": False})


class RetentionContract(Clients):
    """The verbs of `Executions` that are about ended ones."""

    def end(
        self, store: Any, *, now: datetime = EPOCH, outcome: Outcome = FAILED, limit: int = 100
    ) -> list[str]:
        """Run what is claimable to its end, its messages with `outcome`; return the ids."""
        ids = []
        for claim in self.take(store, now=now, limit=limit):
            events: list[Event] = [Resume(branch) for branch in claim.branches]
            while events:
                turn = engine.advance(SIMPLE, claim, events, now=now)
                (answer,) = store.commit([turn.patch], now=now, lease_ms=self.LEASE_MS)
                assert answer.outcome == "ok"
                claim = turn.claim
                events = [Ended(effect.branch_id, outcome, now) for effect in turn.effects]
            ids.append(claim.head.id)
        return ids

    def kept(self, store: Any) -> list[str]:
        """Return the ids of all executions, oldest first."""
        return [e.id for e in store.list_executions(ExecutionFilter(), limit=99)][::-1]

    def refs(self, store: Any, *ids: str) -> list[tuple[str, int]]:
        """Return what guards the deletion of these executions."""
        return [(id, store.get_execution(id).revision) for id in ids]

    # -- listed

    def test_the_ended_are_listed_whole_by_their_end(self, store: Any) -> None:
        executions = started(5)
        store.create(executions)
        # The last one ends first; two end at once; one does not end.
        for id, minutes in (("x000004", 1), ("x000001", 2), ("x000000", 2), ("x000003", 3)):
            at = EPOCH + timedelta(minutes=minutes)
            store.commit([engine.cancel(store.get_execution(id), now=at)], now=at)
        before = EPOCH + timedelta(minutes=9)
        found = store.list_ended(before=before, limit=9)
        assert [e.id for e in found] == ["x000004", "x000000", "x000001", "x000003"]
        assert found == [store.get_execution(e.id) for e in found]
        assert found[0].context
        paged: list[Execution] = []
        after = None
        while page := store.list_ended(before=before, after=after, limit=1):
            paged += page
            after = PageKey(page[-1].ended_at, page[-1].id)
        assert paged == found
        assert store.list_ended(before=EPOCH + timedelta(minutes=3), limit=9) == found[:3]
        assert store.list_ended(before=EPOCH + timedelta(minutes=1), limit=9) == []

    # -- deleted

    def test_the_ended_are_deleted_with_all_that_is_theirs(self, store: Any) -> None:
        store.create(started(3))
        assert len(self.end(store, now=EPOCH + DAY, limit=2)) == 2
        other = store.get_execution("x000002")
        assert store.delete_ended(self.refs(store, "x000000", "x000001")) == 2
        assert self.kept(store) == ["x000002"]
        assert store.get_execution("x000002") == other
        with pytest.raises(NotFound):
            store.get_execution("x000000")
        assert store.delete_ended([("x000000", 3), ("nothing", 0)]) == 0
        # Nothing of it is left that one with its id could be given.
        store.create(started(1))
        assert store.get_execution("x000000") == started(1)[0]

    def test_what_has_not_ended_is_not_deleted(self, store: Any) -> None:
        store.create(started(1))
        assert store.delete_ended([("x000000", 0)]) == 0
        assert self.kept(store) == ["x000000"]

    def test_a_retry_is_not_deleted_under_it(self, store: Any) -> None:
        store.create(started(2))
        self.end(store, now=EPOCH + DAY)
        refs = self.refs(store, "x000000", "x000001")
        later = EPOCH + 2 * DAY
        patch = engine.retry(store.get_execution("x000000"), None, now=later)
        assert store.commit([patch], now=later)[0].outcome == "ok"
        reopened = store.get_execution("x000000")
        assert store.delete_ended(refs) == 1
        assert store.get_execution("x000000") == reopened
        self.end(store, now=later)
        assert store.get_execution("x000000").ended_at == later
        assert store.delete_ended(refs) == 0, "it has ended again, as another revision"
        assert store.delete_ended(self.refs(store, "x000000")) == 1

    # -- expired

    def test_what_ended_long_ago_expires(self, store: Any) -> None:
        store.create(started(4))
        self.end(store, now=EPOCH + DAY, limit=2)
        self.end(store, now=EPOCH + 3 * DAY, limit=1)
        assert store.expire(executions=None, keys=EPOCH, limit=9) == 0
        assert store.expire(executions=EPOCH + DAY, keys=EPOCH, limit=9) == 0
        assert len(self.kept(store)) == 4
        removed = store.expire(executions=EPOCH + 2 * DAY, keys=EPOCH, limit=1)
        if not removed:
            return  # it lets records expire by itself
        assert removed == 1
        assert store.expire(executions=EPOCH + 2 * DAY, keys=EPOCH, limit=9) == 1
        assert self.kept(store) == ["x000002", "x000003"]
        assert len(store.get_execution("x000002").executed_nodes) == 2

    # -- counted

    def test_a_day_is_counted_by_flow_version_node_and_status(self, store: Any) -> None:
        executions = started(6)
        executions[1].flow_version = 2
        store.create(executions)
        self.end(store, now=EPOCH, limit=2)
        # To the last millisecond of the day, and not the first one of the next.
        midnight = datetime.combine(EPOCH.date() + DAY, datetime.min.time(), EPOCH.tzinfo)
        last = midnight - timedelta(milliseconds=1)
        sent = Outcome("completed", result={"messageId": "wamid.1"})
        self.end(store, now=last, outcome=sent, limit=1)
        self.end(store, now=midnight, limit=1)
        store.commit([engine.cancel(store.get_execution("x000004"), now=last)], now=last)
        day, following = EPOCH.date(), EPOCH.date() + DAY
        store.roll_up(day)
        expected = [
            self.count(day, 1, None, "cancelled", 1),
            self.count(day, 1, None, "completed", 1),
            self.count(day, 1, None, "failed", 1),
            self.count(day, 1, "end", "completed", 1),
            self.count(day, 1, "hello", "completed", 1),
            self.count(day, 1, "hello", "failed", 1),
            self.count(day, 1, "start", "completed", 2),
            self.count(day, 2, None, "failed", 1),
            self.count(day, 2, "hello", "failed", 1),
            self.count(day, 2, "start", "completed", 1),
        ]
        assert store.list_counts(since=day, until=following) == expected
        assert store.list_counts(flow_id="flow", since=day, until=following) == expected
        assert store.list_counts(flow_id="other", since=day, until=following) == []
        assert store.list_counts(since=following, until=following + DAY) == []
        store.roll_up(following)
        assert store.list_counts(since=following, until=following + DAY) == [
            self.count(following, 1, None, "failed", 1),
            self.count(following, 1, "hello", "failed", 1),
            self.count(following, 1, "start", "completed", 1),
        ]
        assert store.list_counts(since=day, until=following) == expected

    def test_counts_are_replaced_and_outlive_what_was_counted(self, store: Any) -> None:
        store.create(started(2))
        self.end(store, limit=1)
        day = EPOCH.date()
        store.roll_up(day)
        once = store.list_counts(since=day, until=day + DAY)
        store.roll_up(day)
        assert store.list_counts(since=day, until=day + DAY) == once
        self.end(store, now=EPOCH + timedelta(seconds=1))
        store.roll_up(day)
        twice = store.list_counts(since=day, until=day + DAY)
        assert [c.count for c in twice] == [2 * c.count for c in once]
        assert store.delete_ended(self.refs(store, *self.kept(store))) == 2
        assert store.list_counts(since=day, until=day + DAY) == twice

    def count(
        self, day: date, version: int, node_id: str | None, status: str, count: int
    ) -> DayCount:
        """Return a count of the flow of these tests."""
        return DayCount(
            day=day,
            flow_id="flow",
            flow_version=version,
            node_id=node_id,
            status=status,
            count=count,
        )

    def test_the_open_are_counted_by_status(self, store: Any) -> None:
        assert store.count_open() == {"running": 0, "delayed": 0}
        store.create(started(3))
        self.end(store, now=EPOCH + DAY, limit=1)
        assert store.count_open() == {"running": 2, "delayed": 0}
