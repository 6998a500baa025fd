"""The frames of an archive are those of the same executions, read from the service before."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pandas as pd
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import flowkit as fk
from flowkit import history
from flowkit.engine import Performance
from flowkit.errors import Invalid
from flowkit.execution import Branch, Execution, NodeRun
from flowkit.history.layout import EXECUTIONS, NODE_RUNS, Place
from flowkit.nodetype import Outcome
from flowkit.wire import fields_of, to_wire
from service.archive import archive
from tests.api.harness import KEY, REFUSED, SENT, Service
from tests.archive.stage import LATE, Ended, anywhere, moved
from tests.examples import examples
from tests.history.test_frames import branch_ids, counts, ids, moments

START = datetime(2026, 1, 31, 22, tzinfo=UTC)
READERS = ["executions", "node_runs", "triggers"]

# -------------------------------------------------------- any executions whatever

text = st.text(st.characters(codec="utf-8"), max_size=8)
json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**40), 10**40)
    | st.floats(allow_nan=False, allow_infinity=False)
    | text,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(text, inner, max_size=3),
    max_leaves=5,
)
near = st.integers(0, 3).map(lambda n: START + timedelta(hours=n))
runs = st.builds(
    NodeRun,
    node_id=ids,
    branch_id=branch_ids,
    status=st.sampled_from(["completed", "failed", "cancelled"]),
    start_time=near,
    end_time=st.none() | moments,
    result=st.none() | st.dictionaries(text, json_values, max_size=2),
    error=st.none() | st.fixed_dictionaries({"code": text, "message": text}),
    idempotency_key=text,
    retry_count=counts,
    arrival_count=counts,
    visit=counts,
    sequence=st.integers(0, 3),
    attempts=st.lists(st.dictionaries(text, json_values, max_size=2), max_size=2).map(tuple),
    source_handle=st.none() | text,
)
executions = st.builds(
    Execution,
    id=ids,
    flow_id=st.sampled_from(["a", "b"]),
    flow_version=counts,
    status=st.sampled_from(["completed", "failed", "cancelled"]),
    trigger_type=text,
    contact_id=st.none() | text,
    context=st.fixed_dictionaries({"trigger": json_values, "contact": json_values}),
    executed_nodes=st.lists(
        runs, max_size=6, unique_by=lambda r: (r.start_time, r.branch_id, r.sequence)
    ),
    created_at=near | moments,
    updated_at=moments,
    ended_at=moments,
    revision=counts,
)
records = st.lists(executions, max_size=6, unique_by=lambda e: e.id)


@settings(max_examples=examples(6, 40))
@given(records)
def test_any_executions_come_back_as_they_were(records: list[Execution]) -> None:
    url = anywhere()
    moved(url, records)
    if not records:
        with pytest.raises(Invalid, match=r"archive\.missing"):
            history.Archive(url).executions()
        return
    documents = [to_wire(record) for record in records]
    archived = history.Archive(url)
    pd.testing.assert_frame_equal(archived.executions(), history.executions(documents))
    pd.testing.assert_frame_equal(archived.node_runs(), history.node_runs(documents))
    pd.testing.assert_frame_equal(archived.triggers(), history.triggers(documents))


@settings(max_examples=examples(5, 40))
@given(records, st.sampled_from(["a", "b", None]), moments | near, moments | near)
def test_a_filter_keeps_what_it_says(
    records: list[Execution], flow: str | None, since: datetime, until: datetime
) -> None:
    url = anywhere()
    other = Execution(
        id="other", flow_id="c", flow_version=1, status="completed", trigger_type="t",
        created_at=START, updated_at=START, ended_at=START,
    )  # fmt: skip
    moved(url, [*records, other])
    wanted = [
        to_wire(e)
        for e in [*records, other]
        if flow in (None, e.flow_id) and since <= e.created_at < until and e.status == "completed"
    ]
    asked: dict[str, Any] = {"flow": flow, "since": since, "until": until, "status": "completed"}
    archived = history.Archive(url)
    pd.testing.assert_frame_equal(archived.executions(**asked), history.executions(wanted))
    pd.testing.assert_frame_equal(archived.node_runs(**asked), history.node_runs(wanted))


@pytest.mark.parametrize(
    ("record", "schema", "elsewhere"),
    [
        (Execution, EXECUTIONS, {"id": "execution_id", "executed_nodes": ""}),
        (NodeRun, NODE_RUNS, {}),
    ],
)
def test_an_archive_has_every_field_that_the_wire_has(
    record: type, schema: Any, elsewhere: dict[str, str]
) -> None:
    names = {elsewhere.get(name, name) for name, _, _ in fields_of(record)} - {""}
    assert names <= set(schema.names)


# ---------------------------------------------------------- of a service that ran


@pytest.fixture
def service(make_service: Callable[..., Service]) -> Service:
    return make_service(START)


@pytest.fixture
def client(service: Service) -> Iterator[fk.Client]:
    transport = httpx.WSGITransport(app=service.app)
    with fk.Client("http://service", api_key=KEY, transport=transport) as client:
        yield client


@pytest.fixture
def url(tmp_path: Path) -> str:
    return str(tmp_path / "archive")


def arm(number: int) -> Callable[[Any], Any]:
    return lambda b: b.send(text=f"m{number}", id=f"m{number}")


def perform(performance: Performance) -> Outcome:
    """Refuse one message in five."""
    return REFUSED if performance.key.endswith("m3") else SENT


@pytest.fixture
def ran(service: Service, client: fk.Client) -> fk.Flow:
    """Executions of two months: of twelve branches, cancelled, failed, delayed."""
    wide = fk.Flow("Wide", trigger="wide").parallel(*map(arm, range(12))).end()
    slow = fk.Flow("Slow", trigger="slow").delay(days=300).send(text="x").end()
    for number in range(4):
        flows = [client.push(wide), client.push(slow)]
        for trigger in ("wide", "slow"):
            service.start(trigger, {"contact": {"id": f"c{number}", "phone": "+5511999990000"}})
        service.work(perform)
        service.clock.advance(timedelta(hours=1))
    slow_ids = client.executions(flow=flows[1])["execution_id"]
    for execution_id in slow_ids[:2]:
        client.cancel(execution_id)
    return flows[0]


def everything(reader: Any) -> dict[str, pd.DataFrame]:
    return {name: getattr(reader, name)() for name in READERS}


def check_equal(found: dict[str, pd.DataFrame], expected: dict[str, pd.DataFrame]) -> None:
    for name in READERS:
        pd.testing.assert_frame_equal(found[name], expected[name])


def test_nothing_is_told_differently_after_it_was_archived(
    service: Service, client: fk.Client, ran: fk.Flow, url: str
) -> None:
    before = everything(client)
    ended = before["executions"].dropna(subset=["ended_at"]).reset_index(drop=True)
    assert len(ended) == 6
    summary = archive(service.store, Place(url), before=LATE)
    assert (summary.executions, summary.kept) == (6, 0)
    assert sorted(summary.months) == ["2026-01", "2026-02"]
    archived = history.Archive(url)
    pd.testing.assert_frame_equal(archived.executions(), ended)
    runs = before["node_runs"]
    runs = runs[runs["execution_id"].isin(ended["execution_id"])].reset_index(drop=True)
    assert len(runs) > 50
    pd.testing.assert_frame_equal(archived.node_runs(), runs)
    assert len(client.executions()) == 2
    both = history.Archive(url, live=client)
    check_equal(everything(both), before)


def test_both_are_filtered_as_one(
    service: Service, client: fk.Client, ran: fk.Flow, url: str
) -> None:
    february = "2026-02-01T00:00:00Z"
    questions: list[dict[str, Any]] = [
        {"flow": ran},
        {"status": "failed"},
        {"status": "delayed"},
        {"contact": "c2"},
        {"since": february},
        {"until": february, "status": "cancelled"},
        {"limit": 3},
        {"limit": 2, "flow": ran, "status": "failed"},
        {"flow": "nothing"},
    ]
    asks = [(asked, name) for asked in questions for name in READERS]
    asks = [(asked, name) for asked, name in asks if name != "triggers" or "status" not in asked]
    expected = [getattr(client, name)(**asked) for asked, name in asks]
    archive(service.store, Place(url), before=LATE)
    both = history.Archive(url, live=client)
    for (asked, name), frame in zip(asks, expected, strict=True):
        pd.testing.assert_frame_equal(getattr(both, name)(**asked), frame, obj=f"{asked}")


def test_one_that_was_retried_while_it_was_archived_is_told_as_the_service_has_it(
    service: Service, client: fk.Client, ran: fk.Flow, url: str
) -> None:
    failed = client.executions(status="failed")["execution_id"].tolist()
    delete = service.store.delete_ended

    def retry_first(refs: Any) -> int:
        client.retry(failed[1])
        service.work(lambda _: SENT)
        return delete(refs)

    service.store.delete_ended = retry_first  # type: ignore[method-assign]
    summary = archive(service.store, Place(url), before=LATE)
    service.store.delete_ended = delete  # type: ignore[method-assign]
    assert (summary.executions, summary.kept) == (6, 1)
    assert client.execution(failed[1]).status == "completed"
    both = history.Archive(url, live=client)
    assert len(both.executions()) == 8
    assert both.executions(status="failed")["execution_id"].tolist() == [failed[0], *failed[2:]]
    runs = both.node_runs()
    assert not runs.duplicated(["execution_id", "node_id", "visit"]).any()
    assert failed[1] not in set(both.node_runs(status="failed")["execution_id"])
    assert both.node_runs(status="completed")["execution_id"].unique().tolist() == [failed[1]]
    # Archived again, the newer copy counts and the older does not.
    before = everything(both)
    archive(service.store, Place(url), before=LATE)
    check_equal(everything(history.Archive(url, live=client)), before)
    alone = history.Archive(url)
    assert alone.executions(status="completed")["execution_id"].tolist() == [failed[1]]
    assert len(alone.executions()) == 6
    assert not alone.node_runs().duplicated(["execution_id", "node_id", "visit"]).any()


# ----------------------------------------------------------- what is not read


@pytest.fixture
def filled(url: str) -> str:
    """An archive with one batch, whose ids do not compress."""
    moved(url, [one(hashlib.sha256(bytes([i])).hexdigest()) for i in range(100)])
    return url


def one(id: str, **fields: Any) -> Execution:
    run = NodeRun(
        node_id="n", branch_id="root", status="completed", start_time=START, end_time=START,
        idempotency_key=f"{id}_n",
    )  # fmt: skip
    branch = Branch(branch_id="root", status="completed", current_node_id="n", path=["n"])
    return Execution(
        id=id, flow_id="f", flow_version=1, status="completed", trigger_type="t",
        created_at=START, updated_at=START, ended_at=START, branches=[branch],
        executed_nodes=[run], **fields,
    )  # fmt: skip


def only(url: str, pattern: str) -> Path:
    (found,) = Path(url).glob(pattern)
    return found


def test_parts_without_a_manifest_are_not_read_and_that_is_said(filled: str) -> None:
    whole = everything(history.Archive(filled))
    part = only(filled, "executions/*/*.parquet")
    part.with_name("part-left.parquet").write_bytes(part.read_bytes()[:100])
    with pytest.warns(UserWarning, match=r"1 files are not read.*part-left") as said:
        found = everything(history.Archive(filled))
    assert Path(said[0].filename) == Path(__file__)
    check_equal(found, whole)


@pytest.mark.parametrize("name", ["executions/*/*.parquet", "node_runs/*/*.parquet"])
@pytest.mark.parametrize("harm", ["gone", "short", "flipped"])
def test_a_part_that_is_damaged_is_refused(filled: str, name: str, harm: str) -> None:
    part = only(filled, name)
    data = part.read_bytes()
    if harm == "gone":
        part.unlink()
    elif harm == "short":
        part.write_bytes(data[:-40])
    else:
        ids = pq.read_metadata(part).row_group(0).column(0)
        middle = ids.dictionary_page_offset + ids.total_compressed_size // 2
        part.write_bytes(data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :])
    with pytest.raises(Invalid, match=r"archive\.damaged"):
        everything(history.Archive(filled))


def test_a_manifest_that_is_damaged_is_refused(filled: str) -> None:
    manifest = only(filled, "manifests/*.json")
    manifest.write_bytes(manifest.read_bytes()[:-1])
    with pytest.raises(Invalid, match=r"archive\.damaged at /manifests/"):
        history.Archive(filled).executions()


def test_a_newer_version_is_refused(filled: str) -> None:
    manifest = only(filled, "manifests/*.json")
    manifest.write_text(manifest.read_text().replace('"version":1', '"version":2'))
    with pytest.raises(Invalid, match=r"archive\.version.*upgrade"):
        history.Archive(filled).executions()
    with pytest.raises(Invalid, match=r"archive\.version"):
        archive(Ended(), Place(filled), before=LATE)


def test_arguments_are_checked_as_the_client_does(filled: str) -> None:
    for asked, code in (({"limit": 0}, "limit"), ({"since": "today"}, "time")):
        with pytest.raises(Invalid, match=rf"filter\.{code}"):
            history.Archive(filled).executions(**asked)  # type: ignore[arg-type]


def test_outside_months_are_not_opened(filled: str) -> None:
    moved(filled, [one("b")])
    for part in Path(filled).glob("*/month=2026-01/*.parquet"):
        part.write_bytes(b"x" * part.stat().st_size)
    archived = history.Archive(filled)
    assert archived.executions(since="2026-02-01T00:00:00Z").empty
    with pytest.raises(Invalid):
        archived.executions(until="2026-02-01T00:00:00Z")
