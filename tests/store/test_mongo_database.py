"""What is particular to MongoDB: shapes, indexes, expiry, how sure a write is, the start."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import mongomock
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pymongo.errors import ConnectionFailure

from flowkit import engine
from flowkit.engine import Ended, Resume
from flowkit.errors import NotFound, SettingsError, StoreTooNew, StoreUnavailable
from flowkit.execution import Branch, Execution, NodeRun
from flowkit.flow import Flow
from flowkit.graph import Edge, Node
from flowkit.nodetype import Outcome
from flowkit.testing import EPOCH, SIMPLE, started
from flowkit.wire import camel, fields_of
from service.server import free_port
from service.store.mongo import MongoStore
from service.store.mongo.documents import (
    DOCUMENTS_ONLY,
    STORES_OWN,
    TTL,
    ExecutionDocument,
    FlowDocument,
)
from service.store.mongo.values import pack, unpack
from tests.examples import examples
from tests.store.test_mongo import Mock, Sorting

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.text(max_size=4) | st.sampled_from(["$set", "a.b", "_cls", "%int", "%", "", "_id"]),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@pytest.fixture
def store(mongodb_url: str) -> Iterator[MongoStore]:
    store = Sorting(mongodb_url, retention_days=None)
    yield store
    store.close()


def ended(store: MongoStore, *, now: datetime = EPOCH) -> dict[str, Any]:
    """Run an execution to its end and return its document."""
    store.create(started(1))
    (claim,) = store.claim("a", now=now, lease_ms=30_000, limit=1)
    for events in (
        [Resume("root")],
        [Ended("root", Outcome("completed", result={"a.b": {"$c": 2**70}}), now)],
    ):
        turn = engine.advance(SIMPLE, claim, events, now=now)
        (answer,) = store.commit([turn.patch], now=now, lease_ms=30_000)
        assert answer.outcome == "ok"
        claim = turn.claim
    document = store._db.database["executions"].find_one({"_id": "x000000"})
    assert document is not None
    return document


# ------------------------------------------------------------------------- values


@settings(max_examples=examples(100, 1_000))
@given(value=JSON)
def test_native_values_come_back_exactly(value: Any) -> None:
    packed = pack(value)
    assert unpack(packed) == value
    assert [type(v) for v in _leaves(unpack(packed))] == [type(v) for v in _leaves(value)]
    for key in _keys(packed):
        assert not key.startswith("$"), key
        assert "." not in key, key
        assert "\0" not in key, key
        assert key not in ("", "_cls", "_ref")
    for leaf in _leaves(packed):
        assert not isinstance(leaf, int) or -(2**63) <= leaf < 2**63


def _leaves(value: Any) -> list[Any]:
    inner = list(value.values()) if isinstance(value, dict) else value
    return [leaf for v in inner for leaf in _leaves(v)] if isinstance(inner, list) else [value]


def _keys(value: Any) -> list[str]:
    inner = list(value.values()) if isinstance(value, dict) else value
    own = list(value) if isinstance(value, dict) else []
    return own + [k for v in inner for k in _keys(v)] if isinstance(inner, list) else own


# ------------------------------------------------------------------------- shapes


@pytest.mark.parametrize(
    ("record", "document"),
    [
        (Execution, ExecutionDocument),
        (Branch, ExecutionDocument._fields["branches"].field.document_type),
        (NodeRun, ExecutionDocument._fields["executed_nodes"].field.document_type),
        (Flow, FlowDocument),
        (Node, FlowDocument._fields["nodes"].field.document_type),
        (Edge, FlowDocument._fields["edges"].field.document_type),
    ],
)
def test_a_document_has_the_fields_of_its_record(record: Any, document: Any) -> None:
    declared = {name: field.db_field for name, field in document._fields.items()}
    own = set(STORES_OWN.get(record.__name__, {}))
    if record.__name__ in DOCUMENTS_ONLY:
        names = {name: wire for name, wire, _ in fields_of(record)}
    else:
        names = {f.name: camel(f.name) for f in dataclasses.fields(record)}
    if "id" in names and record in (Execution, Flow):
        names["id"] = "_id"
    assert {name: stored for name, stored in declared.items() if name not in own} == names


def test_an_execution_is_one_document_of_the_mission_s_shape(store: MongoStore) -> None:
    document = ended(store)
    wire = {w for _, w, _ in fields_of(Execution)}
    assert wire - {"id", "resumeAt", "endedBy"} <= set(document)
    inside = {"open", "waiting", "failed", "revision", "bytes", "inbox", "owes"}
    assert set(document) - wire == {"_id", *inside}
    (branch,) = document["branches"]
    assert branch["branchId"] == "root"
    assert branch["path"] == ["start", "hello", "end"]
    assert not {"owner", "leaseAt", "readyAt"} & set(branch), "nobody holds what has ended"
    start, hello, end = document["executedNodes"]
    assert hello["idempotencyKey"] == "x000000_hello"
    assert hello["result"] == '{"a.b":{"$c":1180591620717411303424}}', "free-form data is text"
    assert hello["startTime"] == EPOCH, "moments are dates"
    assert (end["arrivals"], end["arrivalCount"]) == (["root"], 1)
    assert start["status"] == document["status"] == "completed"
    assert store.get_execution("x000000").executed_nodes[1].result == {"a.b": {"$c": 2**70}}


def test_a_flow_embeds_its_nodes_and_edges_as_they_are(store: MongoStore) -> None:
    store.insert_flow(SIMPLE, publish=True)
    document = store._db.database["flows"].find_one({"_id": "flow"})
    assert document is not None
    wire = SIMPLE.to_dict()
    assert document["nodes"] == wire["nodes"]
    assert document["edges"] == wire["edges"]
    assert document["createdAt"] == SIMPLE.created_at
    snapshot = store._db.database["flow_versions"].find_one({"flowId": "flow", "version": 1})
    assert snapshot is not None
    assert snapshot["flow"]["nodes"] == wire["nodes"]
    assert "pending" not in document


def test_a_node_with_an_effect_costs_two_writes(store: MongoStore) -> None:
    before = store.transactions
    ended(store)
    # Made, claimed, begun and ended: the nodes without effects are in the last two.
    assert store.transactions - before == 4


def test_a_version_that_was_published_by_half_is_finished(
    store: MongoStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def dies(self: Any, flow: Any) -> None:
        raise ConnectionFailure("gone")

    with monkeypatch.context() as patched:
        patched.setattr(MongoStore, "_finish", dies)
        with pytest.raises(StoreUnavailable):
            store.insert_flow(SIMPLE, publish=True, author="ann", message="first")
    assert store.get_version("flow", 1) == SIMPLE
    assert store._db.database["flow_versions"].count_documents({}) == 0
    changed = SIMPLE.replace(name="Changed", version=2)
    with monkeypatch.context() as patched:
        patched.setattr(MongoStore, "_finish", lambda self, flow: None)
    store.replace_flow(changed, revision=1, publish=True, author="bob")
    assert [(v.version, v.author) for v in store.list_versions("flow", limit=9)] == [
        (2, "bob"),
        (1, "ann"),
    ]
    assert store.get_version("flow", 1) == SIMPLE
    assert store.get_version("flow", 2) == changed


# ---------------------------------------------------------------- indexes and expiry


def test_the_indexes_are_made(store: MongoStore) -> None:
    def keys(collection: str) -> list[list[tuple[str, int]]]:
        found = store._db.database[collection].index_information().values()
        return [list(index["key"]) for index in found]

    assert [("triggerType", 1), ("isActive", 1)] in keys("flows")
    assert [("flowId", 1), ("status", 1), ("createdAt", -1)] in keys("executions")
    assert [("status", 1), ("resumeAt", 1)] in keys("executions")
    assert [("createdAt", -1), ("_id", -1)] in keys("executions")
    assert [("branches.readyAt", 1)] in keys("executions")
    assert [("branches.leaseAt", 1)] in keys("executions")
    assert [("createdAt", 1)] in keys("trigger_keys")


def mocked(client: Any, **options: Any) -> Mock:
    return Mock("mongodb://mock/flowkit", client=client, **options)


def test_executions_expire_after_their_end_and_no_others() -> None:
    """mongomock lets documents expire, by the machine's clock, when they are looked for."""
    client = mongomock.MongoClient(tz_aware=True)
    long_ago = datetime.now(UTC).replace(microsecond=0) - timedelta(days=100)
    store = mocked(client, retention_days=None)
    ended(store, now=long_ago)
    executions = started(2)
    executions[1].created_at = executions[1].updated_at = long_ago
    store.create([executions[1]])
    assert store.get_execution("x000000").ended_at == long_ago
    again = mocked(client, retention_days=90)
    with pytest.raises(NotFound):
        again.get_execution("x000000")
    assert again.get_execution("x000001").status == "running", "what is under way stays"


def test_the_time_to_expire_is_changed_in_place(monkeypatch: pytest.MonkeyPatch) -> None:
    client = mongomock.MongoClient(tz_aware=True)
    said: list[Any] = []

    def command(self: Any, *args: Any, **options: Any) -> None:
        if args != ("ping",):
            said.append((args, options))

    monkeypatch.setattr(type(client.flowkit), "command", command)
    rows = mocked(client, retention_days=90)._db.rows(ExecutionDocument)
    assert rows.index_information()[TTL]["expireAfterSeconds"] == 90 * 86_400
    assert not said
    mocked(client, retention_days=90)
    assert not said, "nothing is to be changed"
    mocked(client, retention_days=30)
    change = {"name": TTL, "expireAfterSeconds": 30 * 86_400}
    assert said == [(("collMod", "executions"), {"index": change})]
    mocked(client, retention_days=None)
    assert TTL not in rows.index_information()


def test_a_sharded_deployment_spreads_executions_by_hashed_id(
    store: MongoStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No sharded server is to be had here: what would be said to it."""
    said: list[Any] = []

    class Admin:
        def command(self, name: str, *args: Any, **options: Any) -> Any:
            said.append((name, args, options))
            return {"msg": "isdbgrid"}

    class Client:
        admin = Admin()

    monkeypatch.setattr(store._db, "client", Client())
    store._db._shard()
    name = f"{store._db.database.name}.executions"
    assert said[-1] == ("shardCollection", (name,), {"key": {"_id": "hashed"}})


def test_writes_are_majority_and_journaled_and_reads_primary(mongodb_url: str) -> None:
    # Whatever the address says of it; the rest of the address holds.
    url = f"{mongodb_url}?w=1&journal=false&readPreference=secondary&maxPoolSize=7"
    store = MongoStore(url, retention_days=None)
    rows = store._db.rows(ExecutionDocument)
    assert rows.write_concern.document == {"w": "majority", "j": True}
    assert rows.read_preference.mode == 0
    assert store._db.client.options.pool_options.max_pool_size == 7
    assert store._db.client.options.retry_writes
    store.close()


# ------------------------------------------------------------------------ the start


def test_a_database_of_a_newer_version_is_refused(store: MongoStore, mongodb_url: str) -> None:
    store._db.database["schema"].update_one({"_id": "version"}, {"$set": {"version": 99}})
    with pytest.raises(StoreTooNew, match="schema 99"):
        MongoStore(mongodb_url)


@pytest.mark.parametrize(
    "url", ["mongodb://user:secret@", "mongodb://u:se/cret@h", "mongodb://h:x"]
)
def test_a_malformed_address_is_refused_and_not_quoted(url: str) -> None:
    with pytest.raises(SettingsError, match="FLOWKIT_MONGODB_URL is malformed") as caught:
        MongoStore(url)
    assert "secret" not in str(caught.value)
    assert "cret" not in str(caught.value)


def test_a_server_that_does_not_answer_is_unavailable() -> None:
    url = f"mongodb://127.0.0.1:{free_port()}/x?serverSelectionTimeoutMS=300"
    with pytest.raises(StoreUnavailable, match="FLOWKIT_MONGODB_URL"):
        MongoStore(url)


def test_a_server_that_is_gone_is_said_so_in_the_contract_s_words(
    store: MongoStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def gone(*args: Any, **options: Any) -> Any:
        raise ConnectionFailure("connection closed")

    monkeypatch.setattr(store._db, "rows", gone)
    with pytest.raises(StoreUnavailable, match="connection closed"):
        store.get_execution("x")


def test_the_store_s_clock_is_measured(store: MongoStore) -> None:
    offset = store.clock_offset()
    assert offset is not None
    assert abs(offset) < timedelta(seconds=2), "the server is on this machine"
