"""What tests of flowkit and of its extensions build on.

A new store is held to the contract by a test class of a few lines::

    class TestMyStore(StoreContract):
        @pytest.fixture
        def make_store(self, tmp_path):
            return lambda: MyStore(tmp_path / "store")

        def fresh(self):
            return MyStore(an_empty_place())

Needs pytest and Hypothesis. May import the core of `flowkit`; nothing of a service.
"""

from flowkit.testing.contract import StoreContract as StoreContract
from flowkit.testing.examples import EPOCH as EPOCH
from flowkit.testing.examples import SIMPLE as SIMPLE
from flowkit.testing.examples import example_of as example_of
from flowkit.testing.examples import flows as flows
from flowkit.testing.examples import started as started
from flowkit.testing.invariants import check_invariants as check_invariants
from flowkit.testing.machine import StoreMachine as StoreMachine
from flowkit.testing.memory import MemoryStore as MemoryStore
from flowkit.testing.racing import at_once as at_once
