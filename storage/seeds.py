"""Seeds of requests: a pure function of the run's seed, the item and the sample's index.

Invariant: a repeated shard requests the same samples, on any worker and in any order.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable


def request_seed(run_seed: int, stage: str, item: str, index: int) -> int:
    """A seed in [0, 2**31) for sample `index` of `item` in `stage`.

    Sample i + 1 has the seed of sample i plus one. An engine gives sample i of a request the seed
    `seed + i`, so one request can ask for n consecutive samples of an item.
    """
    digest = hashlib.sha256(f"{run_seed}\x1f{stage}\x1f{item}".encode()).digest()
    return (int.from_bytes(digest[:4], "big") + index) % (1 << 31)


def prefix_name(steps: Iterable[str]) -> str:
    """A name of the first steps of a solution, for the `item` of a request that continues them."""
    return hashlib.sha256("\x1f".join(steps).encode()).hexdigest()
