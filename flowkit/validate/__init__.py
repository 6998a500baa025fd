"""What is wrong with a flow: a list of rules, each from a flow to problems."""
from __future__ import annotations
from flowkit.problems import Problem
def check_flow(flow): return []
