"""Seeds of requests: a pure function of the run's seed, the item and the sample's index.

Invariant: a repeated shard asks for the same samples, whoever repeats it and in whatever order.
"""

from __future__ import annotations

import hashlib


def request_seed(run_seed: int, stage: str, item: str, index: int) -> int:
    """A seed in [0, 2**31) for sample `index` of `item` in `stage`.

    Sample i + 1 has the seed of sample i plus one, so that n consecutive samples of one item can
    be asked for with one request (an engine gives sample i of a request the seed `seed + i`).
    """
    digest = hashlib.sha256(f"{run_seed}\x1f{stage}\x1f{item}".encode()).digest()
    return (int.from_bytes(digest[:4], "big") + index) % (1 << 31)
