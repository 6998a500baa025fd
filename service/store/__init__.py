"""Stores: `base` is the contract, `open` chooses, the others are dialects."""
