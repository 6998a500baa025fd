"""Pages: every record once, in order, whatever the size of the pages and whatever comes in."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from flowkit.execution import PageKey
from flowkit.wire import cut
from service.api.paging import read_cursor, write_cursor
from tests.api.harness import Service, delayed
from tests.examples import examples


def pages(service: Service, path: str, limit: int) -> list[list[str]]:
    """The ids on each page, following the cursor."""
    found: list[list[str]] = []
    cursor = None
    while True:
        query = f"limit={limit}" + (f"&cursor={cursor}" if cursor else "")
        page: Any = service.ok("GET", f"{path}{'&' if '?' in path else '?'}{query}")
        found.append([item["id"] for item in page["items"]])
        cursor = page["nextCursor"]
        if cursor is None:
            return found


@settings(
    max_examples=examples(8, 40),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    gaps=st.lists(st.integers(0, 2), max_size=12),
    limit=st.integers(1, 5),
    resource=st.sampled_from(["flows", "executions"]),
)
def test_pages_are_the_list_in_pieces(
    make_service: Any, gaps: list[int], limit: int, resource: str
) -> None:
    service = make_service()
    if resource == "executions":
        service.add(delayed())
    for gap in gaps:
        service.clock.advance(timedelta(milliseconds=gap))
        if resource == "flows":
            service.add(delayed(), active=False)
        else:
            service.start()
    (whole,) = pages(service, f"/api/{resource}", 500)
    assert len(whole) == len(gaps)
    created = [
        (item["createdAt"], item["id"])
        for item in service.ok("GET", f"/api/{resource}?limit=500")["items"]
    ]
    assert created == sorted(created, reverse=True)
    split = pages(service, f"/api/{resource}", limit)
    assert [i for page in split for i in page] == whole
    assert all(len(page) == limit for page in split[:-1])
    assert len(split[-1]) in range(0 if not whole else 1, limit + 1)


def test_what_comes_in_meanwhile_moves_no_page(service: Service) -> None:
    service.add(delayed())
    old = [service.start()[0] for _ in range(4)]
    first = service.ok("GET", "/api/executions?limit=2")
    service.clock.advance(timedelta(seconds=1))
    service.start()
    second = service.ok("GET", f"/api/executions?limit=2&cursor={first['nextCursor']}")
    seen = [item["id"] for item in first["items"] + second["items"]]
    assert sorted(seen) == sorted(old)
    assert second["nextCursor"] is None


def test_filters_go_on_with_the_pages(service: Service) -> None:
    one, two = service.add(delayed("One", "one")), service.add(delayed("Two", "two"))
    for _ in range(3):
        service.start("one")
        service.start("two")
    for flow in (one, two):
        split = pages(service, f"/api/executions?flowId={flow['id']}", 2)
        assert [len(page) for page in split] == [2, 1]


@given(
    st.datetimes(datetime(1970, 1, 1), datetime(2200, 1, 1), timezones=st.just(UTC)).map(cut),
    st.from_regex(r"[A-Za-z0-9_-]{1,64}", fullmatch=True).filter(str.isascii),
)
def test_a_cursor_says_where_to_go_on(moment: datetime, identifier: str) -> None:
    key = PageKey(moment, identifier)
    cursor = write_cursor(key)
    assert read_cursor(cursor) == key
    assert cursor.replace("-", "").replace("_", "").isalnum()


@given(st.text(max_size=40))
def test_any_other_text_is_no_cursor_or_one_that_could_be(text: str) -> None:
    try:
        key = read_cursor(text)
    except ValueError:
        return
    assert read_cursor(write_cursor(key)) == key


@pytest.mark.parametrize("limit", [1, 500])
def test_the_bounds_of_limit_are_allowed(service: Service, limit: int) -> None:
    assert service.ok("GET", f"/api/executions?limit={limit}") == {"items": [], "nextCursor": None}
