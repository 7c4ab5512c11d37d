"""Z3 in the real sandbox: its verdicts on circuits are those of Z3 here, and the checker's."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest

from actors.sandbox import Limits, SandboxSettings, open_sandbox
from demo import check, world
from demo.solutions import Habits, write
from storage.rows.kinds import LABELS, PATHS, PROBLEMS, ShardRows
from storage.rows.records import Problem
from tests.support.kits import kit_of
from tests.support.label_rows import path
from tests.support.solver import decided
from workflows.judging.tools import tool_verdicts
from workflows.stages.formalize import FORMALIZE, FormalizeSettings, FormalVerifier
from workflows.stages.own_settings import settings_class

pytestmark = pytest.mark.container
SEED = 2


async def test_the_containers_labels_are_z3s_and_the_checkers() -> None:
    rng = random.Random(SEED)
    asked = list(world.sample(4, SEED, "train", families=("logic",)))
    solved = [write(problem, Habits(slip=0.3), rng).steps for problem in asked]
    rows = ShardRows(
        {
            PROBLEMS: tuple(Problem(each.problem_id, each.text, each.answer) for each in asked),
            PATHS: tuple(
                replace(path(len(steps), True, problem_id=problem.problem_id), steps=list(steps))
                for problem, steps in zip(asked, solved, strict=True)
            ),
        }
    )
    settings = SandboxSettings(slots=2, limits=Limits(wall_s=60, cpu_s=60))
    sandbox = open_sandbox(settings)
    road = ("sample", "formalize", "consensus")
    grammar = FormalizeSettings(by="demo.formal:programs")
    stages = settings_class(road)(road=road, formalize=grammar)  # type: ignore[call-arg]
    kit = kit_of(
        FORMALIZE, None, sandbox, settings=stages, without=(LABELS,), limits=settings.limits
    )
    stage = FormalVerifier(kit)
    try:
        result = await stage.run(rows)
    finally:
        await stage.close()
    assert result.drops == ()
    for row, problem, steps in zip(result.rows, asked, solved, strict=True):
        verdicts = tool_verdicts(row.executions, len(steps))
        assert verdicts == decided(problem.text, steps), (SEED, problem.text, steps)
        first = verdicts.index(False) if False in verdicts else None
        assert first == check.first_error(problem, steps)
