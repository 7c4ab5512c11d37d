"""The demo benchmark: disjoint problems, balanced classes, true labels, files that are readable."""

from __future__ import annotations

import asyncio
import json
import random
from pathlib import Path
from typing import Any

import pytest

from actors.engines.contract import Chat, EngineSettings
from actors.engines.scripted import ScriptedEngine
from demo import benchmark, check, solutions, world
from workflows.evaluation.measures import check_suite
from workflows.formats import steps
from workflows.inputs.problems import read_problems
from workflows.inputs.responses import read_responses

SLOPPY = solutions.Habits(slip=0.2)


def solver(chat: Chat, seed: int) -> str:
    """Solutions of held-out problems, found again by their texts."""
    written = solutions.write(_KNOWN[chat.messages[1].content], SLOPPY, random.Random(seed))
    return steps.join(written.steps).removeprefix(steps.header(1))


_KNOWN: dict[str, Any] = {}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("benchmark")

    async def opened(settings: EngineSettings) -> ScriptedEngine:
        return ScriptedEngine(solver, EngineSettings(kind="scripted"))

    fresh = benchmark.fresh_problems

    def remembered(*arguments: Any) -> Any:
        for problem in fresh(*arguments):
            _KNOWN[problem.text] = problem
            yield problem

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(benchmark, "open_engine", opened)
        patch.setattr(benchmark, "fresh_problems", remembered)
        assert (
            benchmark.main(["--out", str(folder), "--per-subset", "8", "--bon-problems", "4"]) == 0
        )
    return folder


def test_every_label_is_the_checkers_and_classes_are_balanced(made: Path) -> None:
    rows = read_responses(made / "processbench")
    assert {row.subset for row in rows} == set(benchmark.SUBSETS)
    for subset in benchmark.SUBSETS:
        mine = [row for row in rows if row.subset == subset]
        assert [sum(row.label == -1 for row in mine), len(mine)] == [4, 8]
        assert len({row.problem_id for row in mine}) == 8
    for row in rows:
        first = check.first_error(world.problem(row.problem_id), row.steps)
        assert row.label == (-1 if first is None else first)


def test_no_problem_is_of_the_demo_run_the_training_split_or_another_part(made: Path) -> None:
    count, seed = benchmark.DEMO_RUN
    demo = {problem.text for problem in world.sample(count, seed, "heldout")}
    parts = {
        name: {row.problem for row in read_responses(made / name)}
        for name in ("processbench", "bon.jsonl")
    }
    for texts in parts.values():
        assert not texts & demo
        assert {world.split_of(text) for text in texts} == {"heldout"}
    assert not parts["processbench"] & parts["bon.jsonl"]


def test_the_parts_fit_their_suites_and_answers_are_known(made: Path) -> None:
    check_suite(read_responses(made / "processbench"), "processbench", 8)
    check_suite(read_responses(made / "bon.jsonl"), "bon", benchmark.SAMPLES)
    refined = read_responses(made / "refine.jsonl")
    assert len(refined) == 4 * benchmark.REFINED
    known = {problem.problem_id for problem in read_problems(made / "problems.jsonl")}
    assert {row.problem_id for row in refined} <= known


def test_files_to_stay_away_from_are_left_out(tmp_path: Path) -> None:
    other = next(world.sample(1, 5, "heldout"))
    file = tmp_path / "other.jsonl"
    file.write_text(json.dumps(world.row(other)) + "\n")
    assert other.text in benchmark.taken_texts([file])
    assert benchmark.main(["--out", str(tmp_path), "--exclude", str(tmp_path / "none")]) == 2


def test_too_few_problems_for_both_classes_are_said() -> None:
    problem = next(world.sample(1, 5, "heldout"))
    right = benchmark.truth(problem, steps.join(problem.reference_solution))
    assert (right.first_error, right.correct) == (None, True)
    with pytest.raises(ValueError, match="give no 1 right and 1 wrong"):
        benchmark.balanced([[right]], 1, random.Random(0))
    assert asyncio.run(benchmark.sampled(ScriptedEngine(lambda c, s: "2 + "), [], 2, 0)) == []


@pytest.mark.parametrize("kind", ["digits_swapped", "off_by_one", "premise_skipped"])
def test_cases_of_a_kind_of_error_are_half_right_and_labelled_by_the_checker(kind: str) -> None:
    taken: set[str] = set()
    cases = benchmark.of_kind(kind, 8, 5, taken)
    assert [case.first_error is not None for case in cases] == [True, False] * 4
    assert [case.correct for case in cases] == [False, True] * 4
    assert len({case.problem.text for case in cases}) == 8
    for case in cases:
        assert case.first_error == check.first_error(case.problem, case.steps)
        assert case.problem.text in taken
        assert world.split_of(case.problem.text) == "heldout"
