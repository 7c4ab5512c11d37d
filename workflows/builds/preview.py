"""A preview: a few problems of a build's input, walked through its whole road in a scratch run.

The problems are spread over the input: it is cut into as many equal parts as there are problems to
be, and the run's seed draws one from each. Files are often sorted by level or subject. A shard
holds one problem, so that the commits count tokens and seconds problem by problem.

The scratch run is named by what decides its result. The same preview is continued or found
finished, and a changed one is another run.

Invariant: nothing of the build's own run is read or written.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace
from itertools import count, pairwise
from typing import TypeVar

from actors.stopping import anywhere, awaitable
from storage.objects.opening import open_store
from storage.runs.layout import run_prefix
from storage.runs.removal import tombstone_of
from storage.runs.run import Run
from workflows.builds.configuration import BuildConfig
from workflows.builds.run import check_input
from workflows.runs.configuration import Given
from workflows.runs.listening import SILENT, Listener
from workflows.runs.run import run_at
from workflows.runs.site import Site
from workflows.runs.starting import named_for

PROBLEMS = 5
"""Problems of a preview, where no other number is asked for."""
PREFIX = "preview-"
_LONGEST = 80
"""Most characters of the build's name in that of its preview."""

Row = TypeVar("Row")


@anywhere
def preview(
    config: BuildConfig,
    problems: int = PROBLEMS,
    *,
    address: str | None = None,
    listener: Listener = SILENT,
) -> Run:
    """Walk a few problems of a build's input through its road; return the scratch run, finished.

    `address`: a Ray cluster to join. Raises as `build` does.
    """
    with Site(config.cluster, address, listener) as site:
        read: list[Given] = []
        findings = check_input(config, read)
        if not read:
            return run_at(site, config, None, *findings)  # raises, with all else that is missing
        given = few(read[0], problems, config.stages.seed)
        scratch = untaken(scratch_of(config, given))
        listener.say(
            f"preview of run {config.run}: {len(given.rows):,} of {len(read[0].rows):,} problems, "
            f"spread over {config.problems}, as run {scratch.run}"
        )
        if config.stages.needs_chain and not scratch.stages.needs_chain:
            listener.say(
                f"the budget {config.stages.estimate.mc_budget!r} needs a pilot, which a build "
                "makes first: this preview rolls out every state and labels by counts"
            )
        return run_at(site, scratch, given, *findings)


preview_async = awaitable(preview)


def scratch_of(config: BuildConfig, given: Given) -> BuildConfig:
    """The configuration of the scratch run over these problems.

    It differs from the build's where the build's would not end with every fate to be seen. The
    floor is off. A budget that needs a pilot of hundreds of paths is replaced by plain counts.
    """
    stages = config.stages
    if stages.needs_chain and stages.estimate.pilot is None:
        estimate = replace(stages.estimate, mc_budget="exact_zero_stop")
        label = replace(stages.label, estimate="counts")
        stages = replace(stages, estimate=estimate, label=label)
    scratch = replace(config, shard_size=1, floor="off", stages=stages)
    what = f"{PREFIX}{config.run[:_LONGEST]}"
    return named_for(scratch, what, [*given.rows, *given.solutions])


def untaken(scratch: BuildConfig) -> BuildConfig:
    """The same, with a number behind its name where a preview of that name was removed."""
    store, names = open_store(scratch.store), (f"{scratch.run}-{number}" for number in count(2))
    name = scratch.run
    while tombstone_of(store, run_prefix(name)) is not None:
        name = next(names)
    return replace(scratch, run=name)


def few(given: Given, wanted: int, seed: int) -> Given:
    """Some problems of an input, spread over it; where it has solutions, those that have some."""
    solved = {of.problem_id for of in given.solutions}
    rows = [row for row in given.rows if not solved or row.problem_id in solved]
    chosen = spread(rows, wanted, seed)
    names = {row.problem_id for row in chosen}
    solutions = [of for of in given.solutions if of.problem_id in names]
    return replace(given, rows=chosen, drops=(), solutions=solutions)


def spread(rows: Sequence[Row], wanted: int, seed: int) -> list[Row]:
    """One row of each of `wanted` equal parts, in their order; all rows where there are no more."""
    parts = min(wanted, len(rows))
    ends = [len(rows) * part // parts for part in range(parts + 1)] if parts else []
    draw = random.Random(f"preview {seed}")
    return [rows[draw.randrange(first, last)] for first, last in pairwise(ends)]
