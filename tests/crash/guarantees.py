"""What must hold of executions after any crash, once all is quiet: said in one place."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from datetime import UTC, datetime

import httpx

from flowkit.execution import OUTCOME_UNKNOWN, TERMINAL, Execution
from flowkit.flow import Flow
from flowkit.testing import check_invariants
from tests.processes import Installation

NOT_DONE = frozenset({"lease_lost"})
"""Error codes of messages that were surely not sent."""


def ledger(simulator: str) -> Counter[str]:
    """Return how often each idempotency key was performed, as the receiving side counts."""
    performed: Counter[str] = Counter()
    since: str | None = "0"
    while since is not None:
        page = httpx.get(
            f"{simulator}/_simulator/messages", params={"since": since, "limit": 10_000}, timeout=30
        ).json()
        performed.update(i["callbackData"] for i in page["items"] if i["status"] == "accepted")
        since = page["nextCursor"]
    return performed


def check(here: Installation, accepted: Iterable[str], *, crashes: int) -> list[Execution]:
    """Assert the guarantees of executions that have ended, and return them.

    A message that nobody knows of is sent again only if its node says so, and then at most once
    more for each crash.
    """
    performed = ledger(here.simulator)
    flows: dict[tuple[str, int], Flow] = {}
    found = here.executions(accepted)
    keys = set[str]()
    for execution in found:
        check_invariants(execution)
        assert execution.status in TERMINAL
        version = (execution.flow_id, execution.flow_version)
        flow = flows.get(version) or flows.setdefault(version, here.store.get_version(*version))
        _check_messages(flow, execution, performed, crashes)
        keys |= {run.idempotency_key for run in execution.executed_nodes}
    ids = {execution.id for execution in found}
    strays = {key for key in performed if key.split("_")[0] in ids} - keys
    assert not strays, "an effect is recorded before it is performed"
    if not any(here.store.count_open().values()):
        assert here.store.next_due(now=datetime.now(UTC)) is None, "leases are free"
    return found


def _check_messages(
    flow: Flow, execution: Execution, performed: Counter[str], crashes: int
) -> None:
    messages = {node.id: node for node in flow.nodes if node.type == "SEND_MESSAGE"}
    for run in execution.executed_nodes:
        if run.node_id not in messages:
            continue
        times = performed[run.idempotency_key]
        resend = messages[run.node_id].config.get("onUnknown") == "resend"
        if run.status == "completed":
            assert 1 <= times <= 1 + resend * crashes, (times, run)
            continue
        assert run.status == "failed", run
        assert run.error is not None
        if run.error["code"] in NOT_DONE:
            assert times == 0, run
        else:
            assert run.error["code"] == OUTCOME_UNKNOWN, run
            assert not resend
            assert times <= 1, run
