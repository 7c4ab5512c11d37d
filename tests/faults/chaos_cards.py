"""Which kinds of kills a game is played with, and where in a commit the marked ones strike.

Invariant: pure in the chance that is given.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from pathlib import Path

from storage.runs.run import Run

WEIGHTS = {
    "driver": 12, "policy": 10, "completer": 10, "rationale": 10, "cpu": 8, "executor": 8,
    "container": 14, "node": 8, "point": 20,
}  # fmt: skip
"""Kinds of a hundred kills; each comes at least once."""
REAL_WEIGHTS = {
    "driver": 10, "policy": 8, "completer": 8, "rationale": 8, "engine": 8, "cpu": 14,
    "executor": 8, "container": 24, "node": 6, "point": 6,
}  # fmt: skip
"""The same where a model takes most of a minute to start again."""
POINTS = ("before_data", "after_data", "after_commit")


def deck(kills: int, weights: Mapping[str, int], chance: random.Random) -> list[str]:
    """Kinds of kills in the order in which they come."""
    kinds = list(weights)
    first = chance.sample(kinds, min(kills, len(kinds)))
    rest = chance.choices(kinds, list(weights.values()), k=kills - len(first))
    cards = first + rest
    chance.shuffle(cards)
    return cards


def points(count: int, run: Run, folder: Path, chance: random.Random) -> dict[Path, str]:
    """Marker -> named point, for the kills that happen in the middle of a commit."""
    stages = run.spec.stages[1:]
    places = [(p, s, n) for p in POINTS for s in stages for n in range(run.spec.plan.shards)]
    chosen = chance.sample(places, min(count, len(places)))
    return {folder / f"point-{i}": f"{p}@{s}/{n}" for i, (p, s, n) in enumerate(chosen)}
