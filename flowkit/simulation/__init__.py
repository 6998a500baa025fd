"""What would happen: a flow, a population and a behaviour, under a virtual clock.

Owns the names that engineers use; the work is done in the modules beside it. To simulate needs
pandas: ``pip install 'flowkit[history]'``.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from flowkit.simulation.behaviour import After as After
from flowkit.simulation.behaviour import Behaviour as Behaviour
from flowkit.simulation.behaviour import Occurrence as Occurrence
from flowkit.simulation.behaviour import Reaction as Reaction
from flowkit.simulation.channel import Channel as Channel
from flowkit.simulation.population import Population as Population
from flowkit.simulation.prices import Prices as Prices

if TYPE_CHECKING:
    from flowkit.simulation.backtesting import backtest as backtest
    from flowkit.simulation.comparison import Comparison as Comparison
    from flowkit.simulation.result import Simulation as Simulation
    from flowkit.simulation.run import simulate as simulate


_LATER = {
    "Comparison": "comparison",
    "Simulation": "result",
    "backtest": "backtesting",
    "simulate": "run",
}
"""Names that need pandas, and the modules that have them."""


def __getattr__(name: str) -> Any:
    """Load a name that needs pandas."""
    if name in _LATER:
        return getattr(import_module(f"{__name__}.{_LATER[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
