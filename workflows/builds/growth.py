"""A run grows by another: more problems under a new name, of which those that are done are copied.

A run's spec and plan never change. A grown run is derived from the run that it grows from: its plan
begins with that run's shards, the last of them as short as it was (`ShardPlan.grown`), so that
every shard that was paid for is a shard of it. What a shard's rows depend on (problems, settings,
seeds by item) knows no shard number.

Invariant: a shard of the input is the source's if it has the same problems and given solutions, in
the same order. Problems that were changed, left out or put in between make anew their shard and,
since they move what is behind them, all later ones.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from itertools import compress
from typing import Any

from storage.errors import NothingFound, SpecMismatch
from storage.rows.kinds import PROBLEMS, handed
from storage.rows.records import Problem
from storage.runs.run import READERS, Run
from storage.runs.specs import GROWN, input_digest
from workflows.runs.configuration import Given
from workflows.runs.starting import Planned, cut_problems

OF_THE_INPUT = frozenset({"configuration.limit", "input_digest", "plan.items", GROWN})
"""Fields of a spec that say which problems there are; these are compared shard by shard."""


def same_input(planned: Planned, source: Run) -> frozenset[int]:
    """The shards of a planned run whose problems and given solutions are those of the source's.

    Raises SpecMismatch where the source has other problems in all of them.
    """
    spec = planned.spec
    if (spec.input_digest, spec.plan) == (source.spec.input_digest, source.spec.plan):
        return frozenset(range(spec.plan.shards))
    stored, given = source.shards_of(PROBLEMS.stage), handed(spec.stages)

    def is_same(part: tuple[int, list[Problem], list[Any]]) -> bool:
        shard, problems, solutions = part
        if shard not in stored or source.read_rows(PROBLEMS, shard) != problems:
            return False
        with suppress(NothingFound):
            return given is None or not solutions or source.read_rows(given, shard) == solutions
        return False

    parts = list(cut_problems(spec.plan, planned.given))
    with ThreadPoolExecutor(READERS) as readers:
        same = frozenset(compress(range(len(parts)), readers.map(is_same, parts)))
    if not same:
        raise SpecMismatch(
            f"nothing of run {source.name!r} could be reused: none of its shards has the problems "
            f"that the first {spec.plan.size(0)} are now; append to a file without changing its "
            "order, or leave `--from` out to make everything"
        )
    return same


def grows(begun: Run, given: Given) -> bool:
    """Whether an input is that of a run that was begun, and more behind it."""
    before = begun.spec.plan.items
    if len(given.rows) <= before:
        return False
    rows = given.rows[:before]
    names = {row.problem_id for row in rows}
    solutions = (row for row in given.solutions if row.problem_id in names)
    return input_digest([*rows, *solutions]) == begun.spec.input_digest


def refuse_growth(begun: Run, given: Given) -> None:
    """Raise SpecMismatch, with the way to do it, where the input of a begun run has grown."""
    if grows(begun, given):
        before, now = begun.spec.plan.items, len(given.rows)
        raise SpecMismatch(
            f"run {begun.name!r} has {before:,} problems and stays as it is: the same command with "
            f"`--run {begun.name}-{now} --from {begun.name}` makes a run of the {now:,} that are "
            f"there now, and asks the models for the {now - before:,} new ones alone"
        )
