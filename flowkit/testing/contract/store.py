"""`StoreContract`: the parts of the contract, put together."""

from __future__ import annotations

from flowkit.testing.contract.broadcasts import BroadcastsContract
from flowkit.testing.contract.cells import CellsContract
from flowkit.testing.contract.contacts import ContactsContract
from flowkit.testing.contract.debts import DebtsContract
from flowkit.testing.contract.elections import ElectionsContract
from flowkit.testing.contract.entries import EntriesContract
from flowkit.testing.contract.executions import ExecutionsContract
from flowkit.testing.contract.flows import FlowsContract
from flowkit.testing.contract.inbox import InboxContract
from flowkit.testing.contract.parking import ParkingContract
from flowkit.testing.contract.retention import RetentionContract
from flowkit.testing.contract.triggers import TriggersContract
from flowkit.testing.contract.work import WorkContract


class StoreContract(
    FlowsContract,
    ExecutionsContract,
    RetentionContract,
    DebtsContract,
    WorkContract,
    ParkingContract,
    InboxContract,
    EntriesContract,
    ContactsContract,
    CellsContract,
    TriggersContract,
    BroadcastsContract,
    ElectionsContract,
):
    """What every store must do. Subclass it with a fixture `make_store` and a method `fresh`."""
