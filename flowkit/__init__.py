"""flowkit: define WhatsApp marketing flows in Python, check them, run them, read their history.

The public names, and nothing else. Each is loaded when it is first used, so that a program or a
command that needs few of them does not wait for the others.
"""

import typing as _typing
from importlib import import_module as _import_module

# A function and the package that it lives in, which the import system would put in its place;
# both load the rest when they are asked.
from flowkit.validate import validate as validate

if _typing.TYPE_CHECKING:
    from flowkit.client import Client as Client
    from flowkit.errors import Conflict as Conflict
    from flowkit.errors import FlowkitError as FlowkitError
    from flowkit.errors import Invalid as Invalid
    from flowkit.errors import NodeFailed as NodeFailed
    from flowkit.errors import NotFound as NotFound
    from flowkit.errors import ServiceError as ServiceError
    from flowkit.expression import contact as contact
    from flowkit.expression import event as event
    from flowkit.expression import results as results
    from flowkit.expression import trigger as trigger
    from flowkit.expression import var as var
    from flowkit.expression import variables as variables
    from flowkit.fields import field as field
    from flowkit.flow import Edge as Edge
    from flowkit.flow import Flow as Flow
    from flowkit.flow import Node as Node
    from flowkit.functions import function as function
    from flowkit.nodetype import Await as Await
    from flowkit.nodetype import Context as Context
    from flowkit.nodetype import Effect as Effect
    from flowkit.nodetype import Handle as Handle
    from flowkit.nodetype import Next as Next
    from flowkit.nodetype import NodeType as NodeType
    from flowkit.nodetype import Wait as Wait
    from flowkit.nodetype import node_types as node_types
    from flowkit.planning import plan as plan
    from flowkit.problems import Problem as Problem
    from flowkit.retry import RetryPolicy as RetryPolicy
    from flowkit.simulation import After as After
    from flowkit.simulation import Behaviour as Behaviour
    from flowkit.simulation import Channel as Channel
    from flowkit.simulation import Comparison as Comparison
    from flowkit.simulation import Occurrence as Occurrence
    from flowkit.simulation import Population as Population
    from flowkit.simulation import Prices as Prices
    from flowkit.simulation import Reaction as Reaction
    from flowkit.simulation import Simulation as Simulation
    from flowkit.simulation import backtest as backtest
    from flowkit.simulation import simulate as simulate
    from flowkit.trial import test as test

_LATER = {
    "After": "flowkit.simulation",
    "Await": "flowkit.nodetype",
    "Behaviour": "flowkit.simulation",
    "Channel": "flowkit.simulation",
    "Client": "flowkit.client",
    "Comparison": "flowkit.simulation",
    "Conflict": "flowkit.errors",
    "Context": "flowkit.nodetype",
    "Edge": "flowkit.flow",
    "Effect": "flowkit.nodetype",
    "Flow": "flowkit.flow",
    "FlowkitError": "flowkit.errors",
    "Handle": "flowkit.nodetype",
    "Invalid": "flowkit.errors",
    "Next": "flowkit.nodetype",
    "Node": "flowkit.flow",
    "NodeFailed": "flowkit.errors",
    "NodeType": "flowkit.nodetype",
    "NotFound": "flowkit.errors",
    "Occurrence": "flowkit.simulation",
    "Population": "flowkit.simulation",
    "Prices": "flowkit.simulation",
    "Problem": "flowkit.problems",
    "Reaction": "flowkit.simulation",
    "RetryPolicy": "flowkit.retry",
    "ServiceError": "flowkit.errors",
    "Simulation": "flowkit.simulation",
    "Wait": "flowkit.nodetype",
    "backtest": "flowkit.simulation",
    "contact": "flowkit.expression",
    "event": "flowkit.expression",
    "field": "flowkit.fields",
    "function": "flowkit.functions",
    "node_types": "flowkit.nodetype",
    "plan": "flowkit.planning",
    "results": "flowkit.expression",
    "simulate": "flowkit.simulation",
    "test": "flowkit.trial",
    "trigger": "flowkit.expression",
    "var": "flowkit.expression",
    "variables": "flowkit.expression",
}
"""The names, and the modules that have them."""

_ON_TOP = {"flowkit.client", "flowkit.planning", "flowkit.simulation", "flowkit.trial"}


def __dir__() -> list[str]:
    return sorted({*globals(), *_LATER})


# Not for type checkers, to which a name that is none is then an error.
if not _typing.TYPE_CHECKING:
    # `import *` takes what flows are written with: it loads all that it takes, and not everybody
    # has what the others need.
    __all__ = sorted(["validate", *(n for n, module in _LATER.items() if module not in _ON_TOP)])

    def __getattr__(name):
        if name not in _LATER:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        value = globals()[name] = getattr(_import_module(_LATER[name]), name)
        return value
