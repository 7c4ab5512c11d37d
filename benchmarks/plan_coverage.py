"""How often a run's totals lie within the ranges that `plan` makes of a few of its problems.

    python -m benchmarks.plan_coverage [RUN] [--store URL] [--draws 100] [--problems 5 20]

Of a run it draws problems at random, without replacement and with seeds 0 to 99, plans the
whole run by each draw as `stepmill plan --from` does, and compares with what the run's commits say.
For every figure it prints the share of draws whose range has the actual total (coverage), and the
median factor by which a range's end is off its likely value (width).

Of an unfinished run only the stages count that have all their shards.

Invariant: the exit code is 1 where a figure of a role is covered by fewer than nine draws in ten.
"""

from __future__ import annotations

import argparse
import random
import sys
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from math import sqrt
from statistics import median

import numpy as np
from pydantic import TypeAdapter

from storage.objects.opening import open_store
from storage.runs.layout import DEFAULT_STORE
from storage.runs.run import Run
from workflows.builds.configuration import BuildConfig
from workflows.builds.plan import by_measures
from workflows.planning.measured import measured
from workflows.runs.reading import store_url, validated
from workflows.runs.starting import stored_configuration
from workflows.runs.status import against_plan, run_status

LEAST = 0.9


@dataclass(frozen=True, slots=True)
class Covered:
    """One figure, over all draws of one size."""

    problems: int
    role: str
    name: str
    actual: float
    coverage: float
    width: float
    """Median factor from the likely value to either end."""


def covered(run: Run, problems: int, draws: int) -> Iterator[Covered]:
    """Plan a run by draws of so many of its problems."""
    stored = stored_configuration(run.store, run.name) | {"store": run.store.url, "run": run.name}
    config = validated(TypeAdapter(BuildConfig), stored, f"run {run.name}")
    stages = [s for s in run_status(run).stages if s.shards_done == s.shards]
    whole = measured(run, config.cluster.parallel_shards, [stage.stage for stage in stages])
    hits: defaultdict[tuple[str, str], list[bool]] = defaultdict(list)
    widths: defaultdict[tuple[str, str], list[float]] = defaultdict(list)
    actual: dict[tuple[str, str], float] = {}
    for seed in range(draws):
        some = random.Random(seed).sample(range(whole.problems), problems)
        plan = by_measures(config, run.spec.plan.items, whole.only(np.array(some)))
        for figure in against_plan(run, plan, stages, finished=True):
            key = figure.role, figure.name
            hits[key].append(bool(figure.within))
            if figure.high is not None and figure.low:
                widths[key].append(sqrt(figure.high / figure.low))
            actual[key] = figure.actual
    for key, within in hits.items():
        width = median(widths[key]) if widths[key] else float("inf")
        yield Covered(problems, *key, actual[key], sum(within) / draws, width)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("run", nargs="?", default="demo")
    parser.add_argument("--store", default=DEFAULT_STORE)
    parser.add_argument("--draws", type=int, default=100)
    parser.add_argument("--problems", type=int, nargs="+", default=[5, 20])
    asked = parser.parse_args()
    run = Run.open(open_store(store_url(asked.store)), asked.run)
    print(f"run {run.name}, {run.spec.plan.items} problems; {asked.draws} draws, seeds from 0")
    print(
        f"{'problems':>8} {'model':<10} {'figure':<14} {'actual':>12} {'coverage':>9} {'width':>8}"
    )
    short = False
    for size in asked.problems:
        for row in covered(run, size, asked.draws):
            print(
                f"{row.problems:>8} {row.role or 'all':<10} {row.name:<14} {row.actual:>12,.5g} "
                f"{row.coverage:>9.0%} {'x/÷':>3} {row.width:.2f}"
            )
            short = short or bool(row.role and row.coverage < LEAST)
    sys.exit(1 if short else 0)


if __name__ == "__main__":
    main()
