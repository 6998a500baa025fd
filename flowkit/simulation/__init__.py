"""What would happen: a flow, a population and a behaviour, under a virtual clock.

Owns the names that engineers use; the work is done in the modules beside it. To simulate needs
pandas: ``pip install 'flowkit[history]'``.
"""

from typing import TYPE_CHECKING, Any

from flowkit.simulation.behaviour import After as After
from flowkit.simulation.behaviour import Behaviour as Behaviour
from flowkit.simulation.behaviour import Occurrence as Occurrence
from flowkit.simulation.behaviour import Reaction as Reaction
from flowkit.simulation.channel import Channel as Channel
from flowkit.simulation.population import Population as Population
from flowkit.simulation.prices import Prices as Prices

if TYPE_CHECKING:
    from flowkit.simulation.result import Simulation as Simulation
    from flowkit.simulation.run import simulate as simulate


def __getattr__(name: str) -> Any:
    """Load `simulate` and `Simulation`, without which nothing needs pandas."""
    if name == "simulate":
        from flowkit.simulation.run import simulate

        return simulate
    if name == "Simulation":
        from flowkit.simulation.result import Simulation

        return Simulation
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
