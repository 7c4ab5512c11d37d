"""What several runs have in common: a solution that an earlier run has, a problem of two runs.

A solution is repeated if an earlier run has one to the same problem with the same steps, white
space aside. Two problems are the same if their texts are (`workflows.inputs.overlap.key_of`); what
their runs call them does not matter.

Invariant: pure but for reading committed rows. Which of two equal solutions stays depends on the
order of the runs alone.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass

from storage.errors import ConfigurationError
from storage.rows.kinds import EXAMPLES, PATHS, PROBLEMS
from storage.rows.records import Example, Path
from storage.runs.run import Run
from workflows.formats.conversation import steps_of
from workflows.inputs.overlap import key_of

Key = bytes
"""What is equal for equal solutions."""


@dataclass(frozen=True, slots=True)
class Shared:
    """What one run of several has in common with those before it."""

    solutions: int
    """Its solutions of the kind that was looked at."""
    problems: int
    """Problems that these solve."""
    known_problems: int
    """How many of them an earlier run has too."""
    repeated: frozenset[str]
    """path_ids of its solutions that an earlier run has too."""


def check_names(runs: Sequence[str]) -> None:
    """Raise ConfigurationError if a run is named twice."""
    if twice := [name for name in dict.fromkeys(runs) if runs.count(name) > 1]:
        raise ConfigurationError(f"run {twice[0]!r} is named twice: name each run once")


def texts_of(run: Run) -> dict[str, str]:
    """problem_id -> text of every problem of a run."""
    texts: dict[str, str] = {}
    for shard in sorted(run.shards_of(PROBLEMS.stage)):
        texts |= texts_in(run, shard)
    return texts


def texts_in(run: Run, shard: int) -> dict[str, str]:
    """problem_id -> text of the problems of one shard."""
    table = run.read_table(PROBLEMS, shard, ["problem_id", "problem"])
    return dict(zip(*(column.to_pylist() for column in table.columns), strict=True))


def example_key(example: Example, texts: Mapping[str, str]) -> Key:
    """The key of an example's solution. `texts`: problem_id -> text, of its run."""
    problem = texts.get(example.problem_id, "")
    return solution_key(problem, steps_of(example, problem))


def shared(runs: Sequence[Run], stage: str, but: Sequence[Set[str]]) -> list[Shared]:
    """For each run, what it has in common with those before it.

    `stage`: whose rows are the solutions, `export` or `sample`. `but`: for each run, path_ids that
    are left out whatever they repeat.
    """
    seen: dict[Key, int] = {}
    known: set[str] = set()
    found = []
    for number, run in enumerate(runs):
        texts = texts_of(run)
        repeated = set()
        solved: set[str] = set()
        solutions = 0
        for path_id, problem_id, key in _solutions(run, stage, texts):
            if path_id in but[number]:
                continue
            solutions += 1
            solved.add(key_of(texts[problem_id]))
            if seen.setdefault(key, number) != number:
                repeated.add(path_id)
        found.append(Shared(solutions, len(solved), len(solved & known), frozenset(repeated)))
        known |= solved
    return found


def _solutions(run: Run, stage: str, texts: Mapping[str, str]) -> Iterator[tuple[str, str, Key]]:
    """(path_id, problem_id, key) of every row of a stage."""
    for shard in sorted(run.shards_of(stage)):
        if stage == EXAMPLES.stage:
            for example in run.read_rows(EXAMPLES, shard):
                yield example.path_id, example.problem_id, example_key(example, texts)
        else:
            path: Path
            for path in run.read_rows(PATHS, shard):
                yield (
                    path.path_id,
                    path.problem_id,
                    solution_key(texts[path.problem_id], path.steps),
                )


def solution_key(problem: str, steps: Sequence[str]) -> Key:
    """The key of a solution."""
    parts = [key_of(problem), *(" ".join(step.split()) for step in steps)]
    return hashlib.sha256("\0".join(parts).encode("utf-8", "replace")).digest()[:16]
