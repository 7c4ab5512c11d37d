"""The contract of a stage: one shard of records in, one shard of records and counted drops out.

Invariant: every item of the input has output rows or a drop with a reason. It has both if the stage
stores what it saw of a dropped item. An item's own error never fails its shard; an
InfrastructureError always does.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any, Generic, Protocol, TypeVar

from storage.errors import Broken, InfrastructureError, ItemError, UserError
from storage.rows.kinds import ShardRows
from storage.rows.records import Drop

Item = TypeVar("Item")
Out = TypeVar("Out")
Made = TypeVar("Made", covariant=True)


@dataclass(frozen=True, slots=True)
class ShardResult(Generic[Made]):
    """The rows and drops that a stage makes of a shard, in the order of its input."""

    rows: tuple[Made, ...]
    drops: tuple[Drop, ...] = ()
    counts: dict[str, int] = field(default_factory=dict)
    """Further sums for the commit, e.g. `tokens`, `rollouts`, `selected`."""


class Processor(Protocol):
    """A stage: turns one shard of records into one shard of records."""

    async def run(self, rows: ShardRows) -> ShardResult[Any]:
        """Process a shard. Raises InfrastructureError only."""
        ...

    async def close(self) -> None:
        """Release engines, sandboxes and processes."""
        ...


class PureStage:
    """Base of stages that hold no engine, sandbox or process."""

    async def close(self) -> None:
        """Nothing to release."""


@dataclass(slots=True)
class Meter:
    """How far a shard has come. For showing progress only."""

    total: int = 0
    done: int = 0


shard_meter: ContextVar[Meter | None] = ContextVar("shard_meter", default=None)
"""The meter of the shard that the current task works on."""


async def process_items(
    items: Iterable[Item],
    name: Callable[[Item], str],
    process: Callable[[Item], Awaitable[list[Out]]],
) -> tuple[list[Out], list[Drop]]:
    """Run `process` on all items at once; return (outputs in order, drops of items that failed).

    The first InfrastructureError or UserError cancels the other items and is raised.
    """
    pending = list(items)
    outcomes: list[list[Out] | Drop] = [[] for _ in pending]
    meter = shard_meter.get() or Meter()
    meter.total += len(pending)

    async def one(position: int, item: Item) -> None:
        try:
            outcomes[position] = await process(item)
        except Exception as error:  # noqa: BLE001 - the item's family is decided here
            outcomes[position] = _drop(name(item), error)
        meter.done += 1

    tasks = [asyncio.create_task(one(i, item)) for i, item in enumerate(pending)]
    try:
        await asyncio.gather(*tasks)
    except BaseException:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        raise
    return _parted(outcomes)


def process_now(
    items: Iterable[Item], name: Callable[[Item], str], process: Callable[[Item], list[Out]]
) -> tuple[list[Out], list[Drop]]:
    """`process_items` for work that never waits, without the cost of a task per item."""
    pending = list(items)
    outcomes: list[list[Out] | Drop] = []
    meter = shard_meter.get() or Meter()
    meter.total += len(pending)
    for item in pending:
        try:
            outcomes.append(process(item))
        except Exception as error:  # noqa: BLE001 - the item's family is decided here
            outcomes.append(_drop(name(item), error))
        meter.done += 1
    return _parted(outcomes)


def _drop(item: str, error: Exception) -> Drop:
    """Turn an item's own error, or a bug, into its drop. Raises all other errors again."""
    if isinstance(error, ItemError):
        return Drop(item, error.reason, error.detail)
    if isinstance(error, InfrastructureError | UserError):
        raise error
    return Drop(item, Broken.EXCEPTION, f"{type(error).__name__}: {error}")


def _parted(outcomes: Iterable[list[Out] | Drop]) -> tuple[list[Out], list[Drop]]:
    rows: list[Out] = []
    drops: list[Drop] = []
    for outcome in outcomes:
        if isinstance(outcome, Drop):
            drops.append(outcome)
        else:
            rows += outcome
    return rows, drops
