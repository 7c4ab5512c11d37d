"""The tokens of a training, made by tasks on the processors of a Ray cluster.

The driver asks one task what is missing, cuts it into as many ranges of shards as there are
cores, and counts what tasks store. It holds numbers of shards and no row. A task that is lost
leaves what it stored, and the next round makes the rest.

Invariant: no GPU is asked for here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from typing import Any

# Sets what Ray reads when it is imported; this module goes the same way.
from actors.workers.ray_workers import classified  # isort: skip

import ray

from actors.engines.contract import EngineSettings
from actors.stopping import check_stopped
from actors.training.job import Missing, Source
from actors.training.tokens import tokens_of
from actors.workers.ray_nodes import cores
from storage.errors import InfrastructureError, RunStopped, first_line

LOOK_S = 0.5
"""Seconds between two looks whether the work was told to stop."""
Tell = Callable[[int, int], None]
"""Told of (shards that are stored, shards in all)."""


def make_tokens(
    base: EngineSettings, source: Source, tries: int, tell: Tell, say: Callable[[str], None]
) -> None:
    """Have the tokens of a source stored and divided, on the cluster that this process has joined.

    tries: rounds, of which each makes what the one before it left. Raises the UserError that a task
    found, and RunStopped where the last round lost a task too.
    """
    for left in reversed(range(tries)):
        try:
            missing = _asked(_missing, base, source)
            if missing is not None:
                _made(base, source, missing, tell)
                _asked(_divide, base, source)
            return
        except InfrastructureError as error:
            if not left:
                raise RunStopped(
                    f"making tokens failed {tries} times: {first_line(error)}"
                ) from error
            say(f"making tokens: {first_line(error)}; what is missing is made again")


def ranges(pieces: Sequence[tuple[int, int]], tasks: int) -> list[Sequence[tuple[int, int]]]:
    """Cut shards into at most so many ranges of nearly equal length, none of them empty."""
    tasks = max(1, min(tasks, len(pieces)))
    cuts = [len(pieces) * task // tasks for task in range(tasks + 1)]
    return [pieces[begin:end] for begin, end in pairwise(cuts) if end > begin]


def _made(base: EngineSettings, source: Source, missing: Missing, tell: Tell) -> None:
    """One round; raises the InfrastructureError of a lost task once the others are done."""
    stored = missing.of - len(missing.pieces)
    tell(stored, missing.of)
    make = _task(_make, num_returns="streaming")
    streams = [make.remote(base, source, part) for part in ranges(missing.pieces, cores())]
    trouble: InfrastructureError | None = None
    try:
        while streams:
            check_stopped()
            for stream in ray.wait(streams, timeout=LOOK_S)[0]:
                try:
                    with classified("a task that makes tokens"):
                        ray.get(next(stream))
                except StopIteration:
                    streams.remove(stream)
                except InfrastructureError as error:
                    trouble = trouble or error
                    streams.remove(stream)
                else:
                    stored += 1
                    tell(stored, missing.of)
    finally:
        for stream in streams:
            ray.cancel(stream, force=True)
    if trouble is not None:
        raise trouble


def _asked(work: Callable[..., Any], *given: Any) -> Any:
    """What a task returns."""
    reference = _task(work).remote(*given)
    with classified("a task that makes tokens"):
        while not ray.wait([reference], timeout=LOOK_S)[0]:
            check_stopped()
        return ray.get(reference)


def _task(work: Callable[..., Any], **options: Any) -> Any:
    return ray.remote(work).options(num_cpus=1, max_retries=0, **options)


def _missing(base: EngineSettings, source: Source) -> Missing | None:
    return tokens_of(base, source).missing()


def _make(
    base: EngineSettings, source: Source, pieces: Sequence[tuple[int, int]]
) -> Iterator[None]:
    yield from tokens_of(base, source).make(pieces)


def _divide(base: EngineSettings, source: Source) -> None:
    tokens_of(base, source).divide()
