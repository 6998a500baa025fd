"""The rule by which flows are saved, over sequences of documents."""

from __future__ import annotations

from datetime import timedelta
from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowkit.errors import Invalid
from flowkit.flow import Flow
from flowkit.problems import errors
from service.api import publishing
from tests.api.harness import NOW, delayed

save = partial(publishing.save, known=lambda flow_id, version: False)
VALID = delayed()
MOVED = VALID | {"nodes": [n | {"position": {"x": 5, "y": 5}} for n in VALID["nodes"]]}
OTHER = Flow("Wait", trigger="cart").delay(hours=2).end().to_dict()
BROKEN = VALID | {"edges": []}

steps = st.lists(
    st.tuples(st.sampled_from([VALID, MOVED, OTHER, BROKEN]), st.booleans()),
    min_size=1,
    max_size=12,
)


@given(steps)
def test_versions_are_the_published_contents_in_order(moves: list[tuple[dict, bool]]) -> None:  # type: ignore[type-arg]
    before: Flow | None = None
    published: list[Flow] = []
    for number, (document, active) in enumerate(moves):
        last = published[-1] if published else None
        now = NOW + timedelta(minutes=number)
        if active and document is BROKEN:
            with pytest.raises(Invalid) as refusal:
                save(document | {"isActive": True}, "f", before=before, published=last, now=now)
            assert errors(refusal.value.problems)
            continue
        saved = save(document | {"isActive": active}, "f", before=before, published=last, now=now)
        flow = saved.flow
        if saved.publish:
            assert active
            assert last is None or last.content() != flow.content()
            published.append(flow)
        assert flow.version == len(published)
        if active:
            assert flow.content() == published[-1].content()
        assert flow.created_at == (before.created_at if before else now)
        assert flow.updated_at == now
        assert flow.id == "f"
        # What a client gets back, it can send again.
        last = published[-1] if published else None
        assert not save(flow.to_dict(), "f", before=flow, published=last, now=now).publish
        before = flow
