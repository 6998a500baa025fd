from __future__ import annotations

import pytest

from flowkit import nodetype
from tests.engine.nodes import TYPES


@pytest.fixture(autouse=True)
def _own_types(monkeypatch: pytest.MonkeyPatch) -> None:
    nodetype.node_types()
    for name, cls in TYPES.items():
        monkeypatch.setitem(nodetype._registry, name, cls)
