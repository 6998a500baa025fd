"""The small rules of the records: the status, the order, the keys."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowkit.execution import (
    OPEN,
    Branch,
    NodeRun,
    Patch,
    branch_order,
    idempotency_key,
    new_id,
    run_order,
    status_of,
)
from flowkit.testing import EPOCH

STATUSES = st.sampled_from(
    ["ready", "running", "waiting", "forked", "merged", "completed", "failed", "cancelled"]
)


@pytest.mark.parametrize(
    ("open", "waiting", "failed", "status"),
    [
        (0, 0, 0, "completed"),
        (0, 0, 1, "failed"),
        (1, 0, 0, "running"),
        (1, 0, 1, "running"),
        (1, 1, 0, "delayed"),
        (1, 1, 1, "delayed"),
        (2, 1, 0, "running"),
        (2, 2, 3, "delayed"),
    ],
)
def test_the_counts_of_the_leaves_give_the_status(
    open: int, waiting: int, failed: int, status: str
) -> None:
    assert status_of(open, waiting, failed) == status


@given(moves=st.lists(st.tuples(STATUSES, st.none() | STATUSES)))
def test_a_patch_counts_what_its_moves_change(moves: list[tuple[Any, Any]]) -> None:
    patch = Patch("x")
    for to, was in moves:
        patch.count(to, was)
    for name, counted in (("open", OPEN), ("waiting", {"waiting"}), ("failed", {"failed"})):
        after = sum(to in counted for to, _ in moves)
        before = sum(was in counted for _, was in moves)
        assert getattr(patch, name) == after - before


def test_branches_are_in_the_order_of_their_numbers() -> None:
    ids = ["root", "root_0", "root_0_1", "root_0_10", "root_1", "root_2_0", "root_10"]
    mixed = ids[3:] + ids[:3]
    assert sorted(mixed, key=branch_order) == ids


def test_runs_are_in_the_order_of_time_branch_and_sequence() -> None:
    def run(seconds: int, branch_id: str, sequence: int) -> NodeRun:
        return NodeRun(
            node_id="n",
            branch_id=branch_id,
            status="completed",
            start_time=EPOCH + timedelta(seconds=seconds),
            idempotency_key="k",
            sequence=sequence,
        )

    runs = [
        run(0, "root", 0),
        run(1, "root", 9),
        run(1, "root_2", 3),
        run(1, "root_2", 4),
        run(1, "root_10", 0),
        run(2, "root_0", 0),
    ]
    mixed = runs[3:] + runs[:3]
    assert sorted(mixed, key=run_order) == runs


def test_the_first_visit_has_the_plain_key_and_later_ones_their_number() -> None:
    assert idempotency_key("x", "node") == "x_node"
    assert idempotency_key("x", "node", 1) == "x_node"
    assert idempotency_key("x", "node", 2) == "x_node_v2"


def test_new_ids_sort_by_time_and_never_meet() -> None:
    times = [EPOCH + timedelta(milliseconds=i) for i in range(50)]
    ids = [new_id(now) for now in times]
    assert ids == sorted(ids)
    assert len({new_id(EPOCH) for _ in range(1000)}) == 1000
    assert all(len(one) == 32 and set(one) <= set("0123456789abcdef") for one in ids)


def test_records_do_not_share_their_containers() -> None:
    one, other = (
        Branch(branch_id="root", status="ready", current_node_id="n", path=["n"]) for _ in range(2)
    )
    one.vars["a"] = 1
    assert other.vars == {}
