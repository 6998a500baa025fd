"""What every store must do with executions."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from flowkit import engine
from flowkit.errors import Conflict, NotFound
from flowkit.execution import ExecutionFilter, PageKey, Patch
from flowkit.testing.contract.clients import Clients
from flowkit.testing.examples import EPOCH, started


class ExecutionsContract(Clients):
    """The verbs of `Executions`."""

    @pytest.mark.parametrize(
        "payload",
        [
            {"$set": {"a.b": 1}, "_cls": "X", "": {}, "list": [[], {}, None]},
            {"big": 2**80, "small": -(2**63) - 1, "float": 1e300, "text": "a\u0000é😀\u2028"},
            [],
            "text",
            None,
        ],
    )
    def test_user_data_comes_back_exactly(self, store: Any, payload: Any) -> None:
        (execution,) = started(1)
        execution.context = {"trigger": payload, "contact": {"_id": "$x", "a.b": {}}}
        store.create([execution])
        assert store.get_execution("x000000") == execution
        (claim,) = self.take(store)
        assert claim.head.context == execution.context

    def test_an_unknown_execution_is_not_found(self, store: Any) -> None:
        with pytest.raises(NotFound):
            store.get_execution("nothing")
        patch = Patch("nothing")
        assert store.commit([patch], now=EPOCH)[0].outcome == "fenced"

    def test_executions_are_created_all_or_none(self, store: Any) -> None:
        store.create(started(1))
        with pytest.raises(Conflict):
            store.create(started(3)[::-1])
        assert [e.id for e in store.list_executions(ExecutionFilter(), limit=9)] == ["x000000"]

    def test_lists_filter_and_page(self, store: Any) -> None:
        executions = started(7)
        for i, execution in enumerate(executions):
            execution.flow_id = "even" if i % 2 == 0 else "odd"
            execution.contact_id = f"c{i % 3}"
        store.create(executions)
        store.commit([engine.cancel(store.get_execution("x000003"), now=EPOCH)], now=EPOCH)

        def ids(**where: Any) -> list[int]:
            found = store.list_executions(ExecutionFilter(**where), limit=99)
            return [int(e.id[1:]) for e in found]

        assert ids() == [6, 5, 4, 3, 2, 1, 0]
        assert ids(flow_id="odd") == [5, 3, 1]
        assert ids(status="cancelled") == [3]
        assert ids(status="running", flow_id="odd") == [5, 1]
        assert ids(status="nonsense") == []
        assert ids(contact_id="c0") == [6, 3, 0]
        ms = timedelta(milliseconds=1)
        assert ids(since=EPOCH + 2 * ms, until=EPOCH + 5 * ms) == [4, 3, 2]
        paged, after = [], None
        while page := store.list_executions(ExecutionFilter(), after=after, limit=2):
            paged += [int(e.id[1:]) for e in page]
            after = PageKey(page[-1].created_at, page[-1].id)
        assert paged == [6, 5, 4, 3, 2, 1, 0]

    def test_a_list_holds_what_was_asked_for(self, store: Any) -> None:
        store.create(started(2))
        parts = ("context", "branches", "executed_nodes")
        heads = store.list_executions(ExecutionFilter(), limit=9)
        assert all(not e.context and not e.branches for e in heads)
        whole = store.list_executions(ExecutionFilter(), limit=9, include=parts)
        assert whole == [store.get_execution(e.id) for e in heads]
