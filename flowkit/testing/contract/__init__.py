"""The suite that every store must pass, one module for each part of the contract of a store.

May import the core of `flowkit`, the rest of `flowkit.testing`, pytest and Hypothesis.
"""

from flowkit.testing.contract.store import StoreContract as StoreContract
