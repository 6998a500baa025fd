"""JOIN: for whom it waits, when it is complete, who goes on, and what failures and time-outs do."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from flowkit.engine import Limits
from flowkit.testing import EPOCH
from tests.engine.driver import COIN, REFUSED, SAY, SENT, SILENT, Worker, World, delay, flow_of

ALL = ("JOIN", {})
ANY = ("JOIN", {"mode": "any"})
IN_TIME = ("JOIN", {"timeout": {"amount": 1, "unit": "hours"}})


def two_of(number: int) -> tuple[str, dict[str, Any]]:
    return ("JOIN", {"mode": "atLeast", "number": number})


def staggered(join: Any, *more: str, **nodes: Any) -> World:
    """Return a world of three branches that come to a JOIN at once, after 1 and after 2 hours."""
    given = {"a": COIN, "b": delay(hours=1), "c": delay(hours=2), "join": join, "last": SAY}
    ways = ("start > a:true > join > last > end", "start > b > join", "start > c > join", *more)
    return World(flow_of({**given, **nodes}, *ways))


def remember(name: str, value: str) -> tuple[str, dict[str, Any]]:
    return ("TEST_REMEMBER", {"name": name, "value": value})


def test_it_waits_for_all_and_the_branch_that_forked_goes_on() -> None:
    world = staggered(ALL)
    assert world.run().status == "delayed"
    assert world.run_of("join").status == "waiting"
    assert world.branches["root"] == "forked"
    world.wait(hours=1)
    world.run()
    assert world.sent() == []
    world.wait(hours=1)
    assert world.run().status == "completed"
    run = world.run_of("join")
    assert run.arrivals == ("root_0", "root_1", "root_2")
    assert run.arrival_count == 3
    assert (run.branch_id, run.status, run.source_handle) == ("root", "completed", None)
    assert (run.start_time, run.end_time) == (EPOCH, EPOCH + timedelta(hours=2))
    assert run.result == {"arrived": 3, "missing": 0}
    assert world.execution.branches[0].path == ["start", "join", "last", "end"]
    assert world.run_of("last").branch_id == "root"


@pytest.mark.parametrize(("mode", "left"), [("all", 9), ("any", 9)])
def test_who_is_in_a_loop_on_the_way_can_still_come(mode: str, left: int) -> None:
    world = World(
        flow_of(
            {
                "loop": ("REPEAT", {"maximum": 3}),
                "round": delay(hours=3),
                "other": delay(hours=1 if mode == "all" else 20),
                "join": ("JOIN", {"mode": mode}),
            },
            *("start > loop:again > round > loop", "loop:done > join > end"),
            "start > other > join",
        )
    )
    execution = world.run()
    while execution.resume_at is not None:
        world.now = execution.resume_at
        execution = world.run()
    assert execution.status == "completed"
    end = world.run_of("end")
    assert end.start_time - execution.created_at == timedelta(hours=left)
    assert "root_0" in world.run_of("join").arrivals


def test_any_goes_on_with_the_first_and_later_ones_merge() -> None:
    world = staggered(ANY)
    world.run()
    assert world.sent() == ["x_last"]
    assert world.branches["root"] == "completed"
    world.wait(hours=2)
    assert world.run().status == "completed"
    assert world.branches == {
        "root": "completed",
        "root_0": "completed",
        "root_1": "merged",
        "root_2": "merged",
    }
    assert world.run_of("join").arrivals == ("root_0",)
    assert world.sent() == ["x_last"]


def test_so_many_of_them() -> None:
    world = staggered(two_of(2))
    world.run()
    assert world.sent() == []
    world.wait(hours=1)
    world.run()
    assert world.sent() == ["x_last"]
    assert world.run_of("join").result == {"arrived": 2, "missing": 1}


def test_children_of_a_later_fork_are_numbered_on() -> None:
    nodes = {"a": COIN, "b": COIN, "join": ALL, "c": SAY, "d": SAY, "again": ALL}
    world = World(
        flow_of(
            nodes,
            *("start > a:true > join", "start > b:true > join"),
            *("join > c > again > end", "join > d > again"),
        )
    )
    assert world.run().status == "completed"
    assert world.branches == dict.fromkeys(
        ("root", "root_0", "root_1", "root_2", "root_3"), "completed"
    )
    assert world.run_of("again").arrivals == ("root_2", "root_3")


@pytest.mark.parametrize("elsewhere", ["b > end", "b > a2 > end", "check:false > late > end"])
def test_who_can_no_longer_come_is_not_waited_for(elsewhere: str) -> None:
    """It ends elsewhere, merges, or has taken a way that does not lead there."""
    nodes = {"a": delay(hours=1), "b": SAY, "join": ALL, "last": SAY, "end2": ("END", {})}
    ways = ["start > a > join > last > end"]
    if "check" in elsewhere:
        nodes |= {"check": COIN, "late": delay(days=9)}
        ways += ["start > b > check:false > join", "check:true > late > end"]
    elif "a2" in elsewhere:
        nodes |= {"a2": SAY, "first": SAY, "turn": COIN}
        ways += ["start > first > a2 > end", "start > b > turn:true > a2", "turn:false > join"]
    else:
        nodes |= {"turn": COIN}
        ways += ["start > b > turn:true > end", "turn:false > join"]
    world = World(flow_of(nodes, *ways))
    world.run()
    assert world.run_of("b").status == "completed"
    world.wait(hours=1)
    world.run()
    assert world.run_of("last").status == "completed"


def test_who_turns_away_last_completes_it() -> None:
    """The others have come already; that the last one will not is what they waited for."""
    nodes = {"a": COIN, "b": delay(hours=1), "turn": COIN, "join": ALL, "away": delay(days=9)}
    world = World(
        flow_of(
            nodes,
            *("start > a:true > join > end", "start > b > turn:false > join"),
            "turn:true > away > end",
        )
    )
    world.run()
    assert world.branches["root"] == "forked"
    world.wait(hours=1)
    assert world.run().status == "delayed"
    assert world.branches == {"root": "completed", "root_0": "completed", "root_1": "waiting"}


def test_a_join_behind_no_fork_lets_through() -> None:
    world = World(flow_of({"turn": COIN, "join": ALL}, "start > turn:true > join > end"))
    assert world.run().status == "completed"
    assert world.branches == {"root": "completed"}
    assert world.run_of("join").arrivals == ()


def test_which_fork_it_closes_is_seen_from_the_way_that_was_taken() -> None:
    """Neither of the two forks is on every way to the JOIN."""
    nodes = {"turn": COIN, "f": SAY, "g": SAY, "a": SAY, "b": SAY, "c": SAY, "join": ALL}
    ways = ("f > a > join > end", "f > b > join", "g > c > join", "g > join")
    for coin, expected in ((True, ("a", "b")), (False, ("c",))):
        world = World(flow_of(nodes, "start > turn:true > f", "turn:false > g", *ways))
        world = World(world.flow, {**world.payload, "coin": coin})
        assert world.run().status == "completed"
        assert world.run_of("join").arrival_count == 2
        assert set(expected) <= world.nodes.keys()
        assert world.branches["root"] == "completed"


def test_nested_joins() -> None:
    nodes: dict[str, Any] = dict.fromkeys("fabcd", SAY)
    nodes |= {"inner": ALL, "outer": ALL, "slow": delay(hours=1)}
    world = World(
        flow_of(
            nodes,
            *("start > f", "f > a > inner > c > outer > end", "f > slow > b > inner"),
            "start > d > outer",
        )
    )
    world.run()
    assert world.run_of("outer").status == "waiting"
    world.wait(hours=1)
    assert world.run().status == "completed"
    assert world.run_of("inner").branch_id == "root_0"
    assert world.run_of("outer").arrivals == ("root_1", "root_0")
    assert world.run_of("end").arrivals == ("root",)


def test_who_is_left_behind_by_an_inner_join_keeps_no_outer_one_waiting() -> None:
    nodes = {"f": COIN, "a": COIN, "slow": delay(days=9), "inner": ANY, "outer": ALL, "d": COIN}
    world = World(
        flow_of(
            nodes,
            *("start > f", "f:true > a:true > inner > outer > end", "f:true > slow > inner"),
            "start > d:true > outer",
        )
    )
    assert world.run().status == "delayed"
    assert world.branches["root"] == "completed"
    world.wait(days=9)
    assert world.run().status == "completed"
    assert world.branches["root_0_1"] == "merged"


def test_variables_are_merged_in_the_order_of_the_branches() -> None:
    """Later wins; what a branch only carries along from before the fork does not count."""
    nodes = {
        "old": remember("x", "old"),
        "slow": delay(hours=1),
        "a": remember("x", "a"),
        "a2": remember("y", "a"),
        "b": remember("y", "b"),
        "c": COIN,
        "join": ALL,
        "say": ("SEND_MESSAGE", {"kind": "text", "text": "{{ vars.x }} {{ vars.y }}"}),
    }
    world = World(
        flow_of(
            nodes,
            *("start > old", "old > slow > a > a2 > join > say > end", "old > b > join"),
            "old > c:true > join",
        )
    )
    world.run()
    world.wait(hours=1)
    assert world.run().status == "completed"
    assert world.performed[0].effect.request["text"]["body"] == "a b"


# -- failures


def failing(world: World, *, once: bool = True) -> World:
    """Return the world, in which node b's message is refused, the first time."""
    world.outcomes = lambda p: REFUSED if p.key == "x_b" and (p.attempt == 0 or not once) else SENT
    return world


@pytest.mark.parametrize("slow", ["a", "b"])
def test_a_failed_branch_fails_it_once_the_rest_have_come_and_a_retry_reopens_it(slow: str) -> None:
    nodes = {"wait": delay(hours=1), "a": SAY, "b": SAY, "join": ALL, "last": SAY}
    ways = {"a": "start > a > join", "b": "start > b > join"}
    ways[slow] = ways[slow].replace("start", "start > wait")
    world = failing(World(flow_of(nodes, *ways.values(), "join > last > end")))
    assert world.run().status == "delayed"
    assert world.nodes.get("join") == (None if slow == "a" else "waiting")
    world.wait(hours=1)
    assert world.run().status == "failed"
    assert world.run_of("join").status == "failed"
    assert world.error("join") == "join_failed"
    assert world.branches["root"] == "forked"
    assert world.retry() == "ok"
    assert world.run_of("join").status == "waiting"
    assert world.run_of("join").error is None
    assert world.run().status == "completed"
    assert world.run_of("join").arrival_count == 2
    assert world.sent().count("x_last") == 1


def test_it_fails_again_when_the_retry_fails() -> None:
    nodes = {"a": COIN, "b": SAY, "join": ALL}
    world = World(flow_of(nodes, "start > a:true > join > end", "start > b > join"))
    failing(world, once=False)
    for _ in range(2):
        assert world.run().status == "failed"
        assert world.run_of("join").status == "failed"
        world.retry("b")
        assert world.run_of("join").status == "waiting"


def test_who_fails_where_no_way_leads_to_it_does_not_fail_it() -> None:
    nodes = {"a": COIN, "b": SILENT, "c": COIN, "join": ALL}
    world = World(flow_of(nodes, *("start > a:true > join > end", "start > c:true > join"),
                          "start > b > end"))  # fmt: skip
    assert world.run().status == "failed"
    assert world.branches["root"] == "completed"


# -- time-outs


def test_time_runs_out_from_the_first_arrival() -> None:
    world = staggered(IN_TIME, "join:timeout > late > end", late=SAY, b=delay(minutes=90))
    assert world.run().status == "delayed"
    assert world.branches["root"] == "waiting"
    assert world.execution.resume_at == EPOCH + timedelta(hours=1)
    world.wait(minutes=59)
    world.run()
    assert world.sent() == []
    world.wait(minutes=1)
    world.run()
    assert world.sent() == ["x_late"]
    run = world.run_of("join")
    assert (run.status, run.source_handle) == ("completed", "timeout")
    assert run.result == {"arrived": 1, "missing": 2}
    world.wait(hours=2)
    assert world.run().status == "completed"
    assert world.branches["root_1"] == "merged"


def test_who_comes_in_time_stops_the_clock() -> None:
    world = staggered(
        IN_TIME, "join:timeout > late > end", late=SAY, b=delay(minutes=5), c=delay(minutes=59)
    )
    world.run()
    world.wait(minutes=5)
    world.run()
    world.wait(minutes=54)
    assert world.run().status == "completed"
    assert world.sent() == ["x_last"]
    assert world.execution.resume_at is None


def test_with_a_time_out_a_failed_branch_is_waited_for() -> None:
    nodes = {"a": COIN, "b": SILENT, "join": IN_TIME, "late": SAY}
    world = World(
        flow_of(
            nodes,
            *("start > a:true > join > end", "start > b > join", "join:timeout > late > end"),
        )
    )
    assert world.run().status == "delayed"
    world.wait(hours=1)
    world.run()
    assert world.sent() == ["x_late"]


def test_a_branch_that_arrives_while_another_worker_finds_the_time_run_out() -> None:
    """Everyone has come after all: the time-out's own turn sees it."""
    nodes = {"a": COIN, "b": delay(hours=1), "join": IN_TIME, "late": SAY, "last": SAY}
    world = World(
        flow_of(
            nodes,
            *("start > a:true > join > last > end", "start > b > join"),
            "join:timeout > late > end",
        )
    )
    world.run()
    world.wait(hours=1)
    waiting, arriving = Worker(world, "a"), Worker(world, "b")
    assert waiting.claim(limit=1) == 1
    assert arriving.claim(limit=1) == 1
    assert waiting.held
    assert list(waiting.held.branches) == ["root"]
    assert arriving.turn() == "ok"
    assert world.run_of("join").status == "waiting", "it is in the hands of another"
    assert waiting.turn() == "ok"
    assert world.run().status == "completed"
    assert world.run_of("join").arrival_count == 2
    assert world.sent() == ["x_last"]


# -- several workers


def test_branches_on_several_workers_complete_it_once() -> None:
    nodes: dict[str, Any] = {f"n{i}": SAY for i in range(6)}
    ways = [f"start > n{i} > join" for i in range(6)]
    world = World(
        flow_of({**nodes, "join": ALL, "last": SAY}, *ways, "join > last > end"),
        limits=Limits(fork_queue=2),
    )
    first = Worker(world)
    first.claim()
    first.turn()
    workers = [Worker(world, f"w{i}") for i in range(6)]
    for worker in workers:
        assert worker.claim(limit=1) == 1
        worker.turn()
    for worker in reversed(workers):
        worker.work()
    assert world.run().status == "completed"
    assert world.run_of("join").arrival_count == 6
    assert world.sent().count("x_last") == 1


def test_who_arrives_late_on_what_it_knew_merges() -> None:
    """Another worker has brought the JOIN to its end meanwhile: the commit says so."""
    world = World(
        flow_of({"a": COIN, "b": COIN, "join": ANY, "last": SAY},
                *("start > a:true > join > last > end", "start > b:true > join")),
        limits=Limits(fork_queue=2),
    )  # fmt: skip
    first = Worker(world)
    first.claim()
    first.turn()
    one, other = Worker(world, "a"), Worker(world, "b")
    one.claim(limit=1)
    other.claim(limit=1)
    assert one.turn() == "ok"
    assert other.turn() == "lost"
    assert other.turn() == "ok"
    assert sorted(world.branches.values()) == ["completed", "merged", "ready"]
    assert world.run().status == "completed"
    assert world.sent() == ["x_last"]


def test_cancelled_while_it_waits() -> None:
    world = staggered(IN_TIME, "join:timeout > late > end", late=SAY)
    world.run()
    assert world.cancel() == "ok"
    assert world.run_of("join").status == "cancelled"
    world.wait(days=1)
    assert world.run().status == "cancelled"
    assert world.sent() == []
