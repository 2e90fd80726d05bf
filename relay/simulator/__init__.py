"""An upstream that speaks the Messages API with exact usage figures, and faults on demand.

`relay try` answers from it and the tests run against it. It knows nothing of the relay.
"""

from relay.simulator.faults import Fault
from relay.simulator.server import Received, Simulator, serve

__all__ = ["Fault", "Received", "Simulator", "serve"]
