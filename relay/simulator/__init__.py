"""An upstream that speaks the Messages API with exact usage figures, and faults on demand.

`relay try` answers from it and the tests run against it. It knows nothing of the relay. Headers
steer one answer, as x-sim-NAME or, through a relay, as anthropic-sim-NAME: `fault`, `usage` and
`text` (faults.py, answers.py), `chunks`, `delay-ms`, `citations`, and `batch: open`.
"""

from relay.simulator.faults import NAMED, Fault
from relay.simulator.journal import Received
from relay.simulator.server import Simulator, serve

__all__ = ["NAMED", "Fault", "Received", "Simulator", "serve"]
