"""What a stage is: one shard of records in, one shard of records and counted drops out.

Invariant: every item of the input is the origin of output rows or a drop with a reason, or both
where what was seen of a dropped item is stored; an item's own trouble never fails its shard, and
the infrastructure's trouble always does.
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
    """What a stage makes of a shard, in the order of its input."""

    rows: tuple[Made, ...]
    drops: tuple[Drop, ...] = ()
    counts: dict[str, int] = field(default_factory=dict)
    """Further sums for the commit, e.g. `tokens`, `rollouts`, `selected`."""


class Processor(Protocol):
    """Turns one shard of records into one shard of records."""

    async def run(self, rows: ShardRows) -> ShardResult[Any]:
        """Process a shard. Raises InfrastructureError only."""
        ...

    async def close(self) -> None:
        """Release engines, sandboxes and processes."""
        ...


class PureStage:
    """A stage that holds nothing open."""

    async def close(self) -> None:
        """Nothing to release."""


@dataclass(slots=True)
class Meter:
    """How far a shard has come; read by whoever shows progress, never by the data's road."""

    total: int = 0
    done: int = 0


shard_meter: ContextVar[Meter | None] = ContextVar("shard_meter", default=None)
"""The meter of the shard that the current task works on."""


async def process_items(
    items: Iterable[Item],
    name: Callable[[Item], str],
    process: Callable[[Item], Awaitable[list[Out]]],
) -> tuple[list[Out], list[Drop]]:
    """Run `process` on all items at once; keep the order; turn an item's own trouble into a drop.

    Raises the first InfrastructureError or UserError after cancelling what is still under way.
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
    """`process_items` for what waits for nothing: a task per item would cost more than the item."""
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
    """An item's own trouble as its drop: a bug on one item is one. Raises all other trouble."""
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
