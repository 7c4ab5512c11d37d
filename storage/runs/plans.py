"""Plans: what a run was expected to cost, each one create-only object.

    runs/{run}/plans/{number}.json

A plan is made before the run is there, or beside it. The plan with the greatest number counts.

Invariant: a plan is never changed. Nothing of a run depends on it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field

from storage.errors import StoreUnavailable
from storage.objects.patience import PATIENT, Patience
from storage.objects.store import ObjectStore
from storage.runs.commits import canonical_json
from storage.runs.documents import MOST_BYTES, parsed, put_settled, read_as
from storage.runs.layout import check_run_name, run_prefix
from storage.runs.removal import obeyed

_NAME = re.compile(r"(\d{6})\.json")


@dataclass(frozen=True, slots=True)
class Figure:
    """One figure of a plan, as a range."""

    role: str
    """The model's role; empty: of the whole run."""
    name: str
    """`paths`, `rollouts`, `texts`, `tokens`, `prompt_tokens`, `gpu_hours`, `money`; of the whole
    also `kept`, `hours` and `bytes`."""
    low: float
    high: float | None
    """None: what it was made from does not say."""
    likely: float | None = None
    """None: anything between the two."""


@dataclass(frozen=True, slots=True)
class Rate:
    """What the work of one role costs."""

    gpus: float
    """GPUs of one engine; 0: a server elsewhere."""
    gpu_hour: float = 0.0
    tokens: float = 0.0
    """Of a million generated tokens."""
    prompt_tokens: float = 0.0
    """Of a million tokens of prompts."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What a run will cost, and where that is known from."""

    run: str
    problems: int
    source: str
    """What the figures were made from, in words."""
    measured: int
    """Problems that the source has measured; 0: it is a table of published figures."""
    figures: tuple[Figure, ...]
    rates: Mapping[str, Rate]
    """Role -> its rate."""
    currency: str = "USD"
    notes: tuple[str, ...] = ()
    """What to know about the figures, a line each."""
    models: Mapping[str, str] = field(default_factory=dict)


def put_plan(store: ObjectStore, plan: Plan, patience: Patience = PATIENT) -> int:
    """Store a plan under the next number of its run, and return the number.

    Raises Removed and StoreUnavailable.
    """
    data = canonical_json(asdict(plan))
    number = max(_numbers(store, plan.run), default=-1) + 1
    with obeyed(store, run_prefix(plan.run)):
        for _ in range(patience.tries):
            if put_settled(store, _key(plan.run, number), data, patience) == data:
                return number
            number += 1  # another writer had this number
    raise StoreUnavailable(f"the plan of {plan.run} could not be stored: others take its numbers")


def latest_plan(store: ObjectStore, run: str) -> Plan | None:
    """The plan that counts for a run, if one was made. Raises ObjectCorrupt."""
    numbers = _numbers(store, run)
    if not numbers:
        return None
    key = _key(run, max(numbers))
    return read_as(Plan, key, parsed(key, store.get(key, MOST_BYTES)))


def _key(run: str, number: int) -> str:
    return f"{run_prefix(check_run_name(run))}plans/{number:06d}.json"


def _numbers(store: ObjectStore, run: str) -> list[int]:
    prefix = f"{run_prefix(check_run_name(run))}plans/"
    names = (_NAME.fullmatch(key.removeprefix(prefix)) for key, _ in store.list(prefix))
    return [int(match[1]) for match in names if match]
