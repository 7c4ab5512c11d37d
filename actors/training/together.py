"""What the workers of a training say to each other beside gradients.

A worker that waits in an exchange gives up after the process group's timeout, half an hour. What
takes longer than a moment (fetching a checkpoint, storing one, making tokens) is therefore done
beside a heartbeat: all of them meet every BEAT_S, and say whether they are done.

Invariant: no worker waits for another in one exchange longer than BEAT_S, whatever either does.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import Any, NamedTuple, TypeVar, cast

from actors.training.events import Place

Made = TypeVar("Made")
BEAT_S = 20.0
"""Seconds between two meetings."""


def gathered(place: Place, mine: Any) -> list[Any]:
    """What every worker says, in their order; waits for all of them."""
    if place.workers == 1:
        return [mine]
    from torch import distributed

    said: list[Any] = [None] * place.workers
    distributed.all_gather_object(said, mine)
    return said


def together(
    place: Place,
    work: Callable[[Callable[[int], None]], Made],
    tell: Callable[[int], None] = lambda done: None,
) -> list[Made]:
    """What every worker's `work` returns, in their order; it is done in a thread of its own.

    work: given a function to call with what was just done, in bytes or pieces. tell: called while
    somebody is not done yet, with what all of them did so far. Raises on every worker what the
    first of them raised.
    """
    done: list[int] = []
    with ThreadPoolExecutor(1, thread_name_prefix="together") as thread:
        future = thread.submit(work, done.append)
        while True:
            wait([future], timeout=BEAT_S)
            said = gathered(place, (_state(future), sum(done)))
            states = [state for state, _ in said]
            if error := next((state.error for state in states if state.error is not None), None):
                raise error
            if all(state.done for state in states):
                return [cast(Made, state.made) for state in states]
            tell(sum(count for _, count in said))


def by_first(place: Place, work: Callable[[], Made]) -> Made:
    """What the first worker's `work` returns, on all of them: listings may differ by a moment."""
    made = together(place, lambda moved: work() if place.rank == 0 else None)[0]
    return cast(Made, made)


class _State(NamedTuple):
    done: bool
    error: BaseException | None = None
    made: Any = None


def _state(future: Future[Any]) -> _State:
    if not future.done():
        return _State(False)
    error = future.exception()
    return _State(True, error, None if error else future.result())
