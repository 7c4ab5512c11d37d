"""Waits until a number of nodes of a Ray cluster are up.

    python -m launch.cluster.gathering HOST:PORT NODES

For scripts that start the nodes themselves (slurm.sh, skypilot.yaml). The exit code is 3 if the
nodes don't come up.

Invariant: it changes nothing of the cluster.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable

from actors.workers.ray_nodes import nodes_up
from actors.workers.ray_workers import ray_session
from launch.exits import INFRASTRUCTURE, failed
from storage.errors import InfrastructureError

PATIENCE_S = 600.0
EVERY_S = 2.0


def gathered(
    count: int,
    up: Callable[[], int],
    now: Callable[[], float] = time.monotonic,
    pause: Callable[[float], None] = time.sleep,
) -> None:
    """Wait until `up` returns at least `count`. Raises InfrastructureError after ten minutes.

    `up` may raise InfrastructureError too, while the head is not up.
    """
    given_up = now() + PATIENCE_S
    while True:
        try:
            there = up()
            why = f"{there} of {count} nodes are up"
            if there >= count:
                return
        except InfrastructureError as error:
            why = str(error)
        if now() > given_up:
            raise InfrastructureError(f"{why} after {PATIENCE_S / 60:.0f} minutes")
        pause(EVERY_S)


def main(address: str, count: int) -> int:
    """Wait for `count` nodes, and return the exit code."""

    def up() -> int:
        with ray_session(address, 1):
            return nodes_up()

    try:
        gathered(count, up)
    except InfrastructureError as error:
        return failed(error, INFRASTRUCTURE)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], int(sys.argv[2])))
