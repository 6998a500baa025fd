"""Channels: each performs one kind of outside effect and reports how it ended."""
