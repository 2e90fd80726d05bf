"""`python -m relay.simulator --port N [--host H]`: the simulated API by itself."""

import argparse
import sys
from functools import partial

import trio

from relay.simulator import Simulator, serve


async def _run(host: str, port: int) -> None:
    async with trio.open_nursery() as nursery:
        simulator: Simulator = await nursery.start(partial(serve, host, port))
        sys.stdout.write(f"simulated upstream at {simulator.base_url}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="A simulated Messages API.")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0)
    given = parser.parse_args()
    try:
        trio.run(_run, given.host, given.port)
    except* KeyboardInterrupt:
        pass
    except* OSError as group:
        sys.exit(f"Cannot listen on {given.host}:{given.port}: {group.exceptions[0]}")
