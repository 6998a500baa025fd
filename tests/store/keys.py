"""What every store of the service must do with keys of the API."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from flowkit.errors import Conflict, NotFound
from flowkit.testing import EPOCH, at_once
from flowkit.testing.contract.clients import Clients
from service.store.base import ApiKey

ANN = ApiKey("ann", "a" * 64, EPOCH)
BOB = ApiKey("bob", "b" * 64, EPOCH + timedelta(milliseconds=1))


class KeysContract(Clients):
    """The verbs of `Keys`."""

    def test_a_key_is_found_by_its_digest(self, store: Any, make_store: Callable[[], Any]) -> None:
        store.insert_api_key(BOB)
        store.insert_api_key(ANN)
        other = make_store()
        assert other.find_api_key("a" * 64) == ANN
        assert other.find_api_key("b" * 64) == BOB
        assert other.find_api_key("c" * 64) is None
        assert other.list_api_keys() == [ANN, BOB]
        other.close()

    def test_a_name_is_given_once(self, store: Any) -> None:
        results = at_once(4, lambda i: store.insert_api_key(ApiKey("ann", str(i) * 64, EPOCH)))
        assert sum(isinstance(result, Conflict) for result in results) == 3
        (kept,) = store.list_api_keys()
        assert kept.digest == str(results.index(None)) * 64

    def test_a_key_that_was_deleted_is_not_found(self, store: Any) -> None:
        store.insert_api_key(ANN)
        store.insert_api_key(BOB)
        store.delete_api_key("ann")
        assert store.find_api_key(ANN.digest) is None
        assert store.list_api_keys() == [BOB]
        with pytest.raises(NotFound):
            store.delete_api_key("ann")
        store.insert_api_key(ANN._replace(digest="c" * 64))
        assert store.find_api_key("c" * 64) is not None
