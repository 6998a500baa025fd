"""What every store must do with flows and their versions."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from flowkit import engine
from flowkit.errors import Conflict, NotFound
from flowkit.execution import PageKey
from flowkit.flow import Flow, FlowVersion
from flowkit.testing.contract.clients import Clients
from flowkit.testing.examples import EPOCH, SIMPLE, started
from flowkit.testing.racing import at_once


class FlowsContract(Clients):
    """The verbs of `Flows`."""

    def test_a_flow_is_kept_whole(self, store: Any, make_store: Callable[[], Any]) -> None:
        odd = SIMPLE.to_dict() | {"viewport": {"x": 1.5, "$odd.key": None}, "settings": {}}
        flow = Flow.from_dict(odd)
        store.insert_flow(flow, publish=True)
        other = make_store()
        assert other.get_flow("flow").flow.to_dict() == flow.to_dict()
        assert other.get_version("flow", 1).to_dict() == flow.to_dict()
        assert other.active_versions("test") == [("flow", 1)]
        assert other.active_versions("other") == []
        other.close()

    def test_a_flow_is_inserted_once(self, store: Any) -> None:
        store.insert_flow(SIMPLE, publish=True)
        with pytest.raises(Conflict):
            store.insert_flow(SIMPLE, publish=False)

    def test_of_two_changes_of_one_revision_one_wins(
        self, store: Any, make_store: Callable[[], Any]
    ) -> None:
        store.insert_flow(SIMPLE, publish=True)
        _, revision = store.get_flow("flow")
        names = [f"change {i}" for i in range(4)]

        def change(i: int) -> str:
            client = make_store()
            try:
                changed = Flow.from_dict(SIMPLE.to_dict() | {"name": names[i], "version": 2})
                client.replace_flow(changed, revision=revision, publish=True)
            finally:
                client.close()
            return names[i]

        results = at_once(4, change)
        (winner,) = [r for r in results if isinstance(r, str)]
        assert sum(isinstance(r, Conflict) for r in results) == 3
        assert store.get_flow("flow").flow.name == winner
        assert store.get_version("flow", 2).name == winner
        assert store.get_version("flow", 1).name == "Simple"

    def test_a_published_version_never_changes(self, store: Any) -> None:
        store.insert_flow(SIMPLE, publish=True)
        _, revision = store.get_flow("flow")
        with pytest.raises(Conflict):
            store.replace_flow(
                Flow.from_dict(SIMPLE.to_dict() | {"name": "other"}),
                revision=revision,
                publish=True,
            )
        assert store.get_flow("flow") == (SIMPLE, revision), "all or nothing"

    def test_a_flow_goes_when_nothing_of_it_is_under_way(self, store: Any) -> None:
        store.insert_flow(SIMPLE, publish=True)
        store.create(started(1))
        with pytest.raises(Conflict):
            store.delete_flow("flow")
        execution = store.get_execution("x000000")
        store.commit([engine.cancel(execution, now=EPOCH)], now=EPOCH)
        store.delete_flow("flow")
        with pytest.raises(NotFound):
            store.get_flow("flow")
        assert store.get_version("flow", 1) == SIMPLE, "an execution refers to it"
        with pytest.raises(Conflict):
            store.insert_flow(SIMPLE.replace(version=0), publish=False)
        with pytest.raises(NotFound):
            store.delete_flow("flow")

    def test_flows_are_listed_newest_first_and_paged(self, store: Any) -> None:
        for i in range(5):
            store.insert_flow(
                Flow.from_dict(
                    SIMPLE.to_dict()
                    | {
                        "id": f"f{i}",
                        "isActive": i % 2 == 0,
                        "createdAt": f"2026-01-05T09:00:0{i // 2}.000Z",
                    }
                ),
                publish=False,
            )
        assert [f.id for f in store.list_flows(limit=9)] == ["f4", "f3", "f2", "f1", "f0"]
        assert [f.id for f in store.list_flows(is_active=False, limit=9)] == ["f3", "f1"]
        first = store.list_flows(limit=2)
        rest = store.list_flows(limit=9, after=PageKey(first[-1].created_at, str(first[-1].id)))
        assert [f.id for f in rest] == ["f2", "f1", "f0"]

    # -- versions

    def test_each_version_is_kept_with_its_author_and_message(
        self, store: Any, make_store: Callable[[], Any]
    ) -> None:
        second = self.changed(1)
        third = second.replace(is_active=False)
        store.insert_flow(SIMPLE, publish=True, author="ann")
        store.replace_flow(second, revision=1, publish=True, message="Naïve 👋")
        store.replace_flow(third, revision=2, publish=False, author="bob", message="not kept")
        other = make_store()
        assert other.list_versions("flow", limit=9) == [
            FlowVersion(
                flow_id="flow",
                version=2,
                message="Naïve 👋",
                created_at=EPOCH + timedelta(seconds=1),
            ),
            FlowVersion(flow_id="flow", version=1, author="ann", created_at=EPOCH),
        ]
        assert [other.get_version("flow", v).name for v in (1, 2)] == ["Simple", "Changed 1"]
        other.close()

    def test_versions_are_listed_newest_first_and_paged(self, store: Any) -> None:
        store.insert_flow(SIMPLE, publish=True)
        for revision in range(1, 12):
            store.replace_flow(self.changed(revision), revision=revision, publish=True)

        def listed(**asked: Any) -> list[int]:
            return [v.version for v in store.list_versions("flow", **asked)]

        assert listed(limit=3) == [12, 11, 10]
        assert listed(before=10, limit=3) == [9, 8, 7]
        assert listed(before=2, limit=3) == [1]
        assert listed(before=1, limit=3) == []
        assert store.list_versions("nothing", limit=3) == []

    def test_versions_outlive_their_flow(self, store: Any) -> None:
        store.insert_flow(SIMPLE, publish=True, author="ann")
        listed = store.list_versions("flow", limit=9)
        store.delete_flow("flow")
        assert store.list_versions("flow", limit=9) == listed
        assert store.get_version("flow", 1) == SIMPLE

    # -- revisions

    def test_a_revision_counts_the_changes(self, store: Any) -> None:
        store.insert_flow(SIMPLE, publish=True)
        for revision in (1, 2, 3):
            assert store.get_flow("flow").revision == revision
            renamed = SIMPLE.replace(name=f"name {revision}")
            store.replace_flow(renamed, revision=revision, publish=False)
        assert store.get_flow("flow").revision == 4

    def test_a_flow_is_deleted_at_the_revision_that_was_meant(self, store: Any) -> None:
        store.insert_flow(SIMPLE, publish=True)
        store.replace_flow(SIMPLE.replace(name="other"), revision=1, publish=False)
        with pytest.raises(Conflict):
            store.delete_flow("flow", revision=1)
        assert store.get_flow("flow").flow.name == "other"
        store.delete_flow("flow", revision=2)
        with pytest.raises(NotFound):
            store.delete_flow("flow", revision=2)

    # -- pauses

    def test_paused_flows_are_known(self, store: Any, make_store: Callable[[], Any]) -> None:
        assert store.paused_flows() == frozenset()
        for name in ("a", "b", "c"):
            store.insert_flow(SIMPLE.replace(id=name, is_paused=name == "c"), publish=True)
        store.replace_flow(SIMPLE.replace(id="a", is_paused=True), revision=1, publish=False)
        other = make_store()
        assert other.paused_flows() == {"a", "c"}
        other.close()
        assert store.get_flow("a").flow.is_paused
        assert dict(store.active_versions("test")) == {"a": 1, "b": 1, "c": 1}, "triggers go on"
        store.replace_flow(SIMPLE.replace(id="a"), revision=2, publish=False)
        store.delete_flow("c")
        assert store.paused_flows() == frozenset()

    def changed(self, number: int) -> Flow:
        """Return another content, to be published as the next version."""
        return SIMPLE.replace(
            name=f"Changed {number}",
            version=number + 1,
            updated_at=EPOCH + timedelta(seconds=number),
        )
