"""flowkit: define WhatsApp marketing flows in Python, check them, run them, read their history."""

import typing as _typing
from importlib import import_module as _import_module

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
from flowkit.problems import Problem as Problem
from flowkit.retry import RetryPolicy as RetryPolicy
from flowkit.validate import validate as validate

if _typing.TYPE_CHECKING:
    from flowkit.client import Client as Client
    from flowkit.planning import plan as plan
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
    "Behaviour": "flowkit.simulation",
    "Channel": "flowkit.simulation",
    "Client": "flowkit.client",
    "Comparison": "flowkit.simulation",
    "Occurrence": "flowkit.simulation",
    "Population": "flowkit.simulation",
    "Prices": "flowkit.simulation",
    "Reaction": "flowkit.simulation",
    "Simulation": "flowkit.simulation",
    "backtest": "flowkit.simulation",
    "plan": "flowkit.planning",
    "simulate": "flowkit.simulation",
    "test": "flowkit.trial",
}
"""Names that are loaded when they are first used, for what they bring along takes its time."""


def __getattr__(name: str) -> _typing.Any:
    if name in _LATER:
        return getattr(_import_module(_LATER[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_LATER})
