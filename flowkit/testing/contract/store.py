"""`StoreContract`: the parts of the contract, put together."""

from __future__ import annotations

from flowkit.testing.contract.executions import ExecutionsContract
from flowkit.testing.contract.flows import FlowsContract
from flowkit.testing.contract.retention import RetentionContract
from flowkit.testing.contract.work import WorkContract


class StoreContract(FlowsContract, ExecutionsContract, RetentionContract, WorkContract):
    """What every store must do. Subclass it with a fixture `make_store` and a method `fresh`."""
