"""What would happen: a flow, a population and a behaviour, under a virtual clock.

Owns the names that engineers use; the work is done in the modules beside it. Needs pandas:
``pip install 'flowkit[history]'``.
"""

from flowkit.simulation.behaviour import After as After
from flowkit.simulation.behaviour import Behaviour as Behaviour
from flowkit.simulation.behaviour import Reaction as Reaction
from flowkit.simulation.channel import Channel as Channel
from flowkit.simulation.population import Population as Population
from flowkit.simulation.prices import Prices as Prices
from flowkit.simulation.result import Simulation as Simulation
from flowkit.simulation.run import simulate as simulate
