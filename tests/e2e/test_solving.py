"""A run that solves problems with a scripted policy and verifier: searches, commits, files."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from actors.engines.passages import Passage
from actors.engines.reading import ScriptedReader
from actors.engines.scripted import ScriptedEngine
from actors.workers.contract import Processor
from demo import check
from storage.audit import audit
from storage.errors import ConfigurationError, InputError, SpecMismatch
from storage.objects.opening import open_store
from storage.rows.records import Problem, Solved
from storage.rows.schemas import from_table
from storage.runs.run import Run
from tests.scripted_solver import policy
from tests.scripted_verifier import PROBLEMS, verifier
from tests.support.golden import check_golden
from tests.support.local_cluster import LocalCluster
from tests.support.scripted_world import InProcessSandbox, world_problems, write_problems
from workflows.answers import quick
from workflows.inputs.responses import read_responses
from workflows.runs.configuration import Given
from workflows.runs.driving import continue_run, standing
from workflows.runs.starting import start_run
from workflows.runs.status import run_status
from workflows.runs.workers import StageMaker
from workflows.schedule.events import Happened
from workflows.settings import AnswerSettings
from workflows.solving.asking import config_of
from workflows.solving.output import write_solutions
from workflows.solving.run import solved
from workflows.solving.settings import SolveConfig

WORLD = {problem.problem_id: problem for problem in world_problems(PROBLEMS)}


def configure(folder: Path, **asked: Any) -> SolveConfig:
    folder.mkdir(parents=True, exist_ok=True)
    file = write_problems(list(WORLD.values()), folder / "world.jsonl")
    wanted = {
        "store": f"file:{folder}/store",
        "shard_size": 5,
        "models.policy.kind": "scripted",
        "models.verifier.kind": "scripted",
        "verify.mode": "cot",
        "verify.histories": 3,
        "solve.n": 8,
        "solve.width": 4,
    }
    models = ("tests.scripted_solver:policy", "tests.scripted_verifier:verifier")
    return config_of(models[0], file, models[1], None, wanted | asked)


def read(passage: Passage) -> list[float]:
    """Log-odds of a model with a head that finds the first error of every beginning."""
    problem = next(each for each in WORLD.values() if each.text == passage.problem)
    wrong = check.first_error(problem, passage.steps)
    return [2.0 if wrong is None or step < wrong else -2.0 for step in range(len(passage.steps))]


class SolvingCluster(LocalCluster):
    """Workers of the one stage, with both models and an interpreter in process."""

    def __init__(self, run: Run, config: SolveConfig) -> None:
        super().__init__(run, self._stages, road=config.road)
        self._config = config

    def _stages(self, role: str) -> Mapping[str, Processor]:
        models = self._config.models
        maker = StageMaker(self._config, self._run.name)
        guide = ScriptedReader(read) if self._config.reads else ScriptedEngine(verifier)
        engine = ScriptedEngine(policy, models.policy)
        asked = {"verifier": guide} if self._config.judges else {}
        return maker.around("policy", engine, InProcessSandbox(), asked)


class Solving:
    """One configured run."""

    def __init__(self, config: SolveConfig) -> None:
        self.config = config
        self.given: Given = config.read_input()
        config.check_input(self.given)
        self.run = start_run(config, open_store(config.store), None, self.given.rows)
        self.cluster = SolvingCluster(self.run, config)

    async def work(self, stop_after: int = 0) -> None:
        """Solve what is left; `stop_after` so many commits, as if the driver died."""
        committed = 0

        def watch(event: Happened) -> None:
            nonlocal committed
            committed += event.what == "committed"
            if stop_after and committed == stop_after:
                raise KeyboardInterrupt

        await continue_run(self.run, self.config, self.cluster, 1, watch)

    def finish(self) -> Solving:
        asyncio.run(self.work())
        self.run.finish()
        return self

    @property
    def rows(self) -> list[Solved]:
        return [found for _, found in solved(self.run) if found is not None]

    def right(self) -> float:
        return sum(bool(row.correct) for row in self.rows) / len(WORLD)


@pytest.fixture(scope="module")
def beam(tmp_path_factory: pytest.TempPathFactory) -> Solving:
    return Solving(configure(tmp_path_factory.mktemp("beam"))).finish()


def test_its_rows_are_the_golden_ones(beam: Solving) -> None:
    check_golden("solve", beam.run)


def test_a_finished_run_audits_clean_and_has_a_status(beam: Solving) -> None:
    assert audit(beam.run).findings == ()
    status = run_status(beam.run)
    assert status.finished
    assert set(status.models) == {"policy", "verifier"}
    assert [(stage.stage, stage.rows) for stage in status.stages] == [
        ("problems", len(WORLD)), ("solve", len(WORLD)),
    ]  # fmt: skip


def test_answers_are_compared_and_every_step_is_in_the_tree(beam: Solving) -> None:
    for row in beam.rows:
        problem = WORLD[row.problem_id]
        assert row.answer == row.candidates[row.chosen].answer
        assert row.correct == quick(problem.answer, row.answer or "", AnswerSettings())
        for candidate in row.candidates:
            written = row.steps_of(candidate)
            rewards = row.rewards_of(candidate)
            assert len(rewards) == len(written), "a beam judges every step"
            assert candidate.score == min(rewards)
            assert row.steps[candidate.step].end == "answered"
            assert candidate.correct or check.first_error(problem, written) is not None
        assert sum(step.copies for step in row.steps) == row.samples
        assert row.policy_tokens > 0 < row.verifier_tokens


def test_a_search_answers_more_than_the_policy_alone(beam: Solving, tmp_path: Path) -> None:
    """The policy slips in a quarter of its steps, the verifier errs in 15 % of its verdicts."""
    alone = Solving(configure(tmp_path, **{"solve.method": "majority", "solve.n": 1})).finish()
    assert alone.right() < beam.right()
    assert beam.right() >= 0.8


@pytest.mark.parametrize("method", ["best_of_n", "dvts", "majority"])
def test_every_method_makes_a_whole_run(tmp_path: Path, method: str) -> None:
    made = Solving(configure(tmp_path, **{"solve.method": method})).finish()
    assert audit(made.run).findings == ()
    assert {row.method for row in made.rows} == {method}
    assert ("verifier" in made.run.spec.models) == (method != "majority")
    for row in made.rows:
        assert sum(step.copies for step in row.steps if step.end is not None) <= row.samples
        assert row.judged == 0 or method != "majority"
        assert row.solution == (row.steps_of(row.candidates[row.chosen]) if row.answer else [])


def test_a_verifier_that_only_reads_guides_a_search_too(tmp_path: Path) -> None:
    made = Solving(configure(tmp_path, **{"verify.mode": "read", "verify.histories": 1})).finish()
    assert made.run.spec.configuration["verify"]["mode"] == "read"
    assert made.right() == 1.0, "it knows the truth of every step"
    for row in made.rows:
        assert check.first_error(WORLD[row.problem_id], row.solution) is None
        assert row.verifier_tokens > 0


def test_early_best_of_n_gives_the_answers_of_all_n_for_fewer_tokens(tmp_path: Path) -> None:
    asked = {"solve.method": "best_of_n", "solve.n": 12, "verify.histories": 1}
    whole = Solving(configure(tmp_path / "a", **asked, **{"solve.early": False})).finish()
    early = Solving(configure(tmp_path / "b", **asked)).finish()
    assert [row.solution for row in early.rows] == [row.solution for row in whole.rows]
    tokens = [
        sum(row.policy_tokens + row.verifier_tokens for row in each.rows) for each in (early, whole)
    ]
    assert tokens[0] < tokens[1]


def test_code_of_the_verifier_runs_in_every_continuation(tmp_path: Path) -> None:
    made = Solving(configure(tmp_path, **{"verify.mode": "full", "limit": 3})).finish()
    assert made.run.totals("solve").counts["code_runs"] > 0
    assert all(row.answer is not None for row in made.rows)


async def test_a_run_that_was_interrupted_is_finished_without_repeating_a_commit(
    beam: Solving, tmp_path: Path
) -> None:
    one_by_one = {"cluster.parallel_shards": 1, "cluster.workers_per_role": 1}
    first = Solving(configure(tmp_path, **one_by_one))
    with pytest.raises(KeyboardInterrupt):
        await first.work(stop_after=1)
    done = {commit.shard for commit in first.run.commits("solve")}
    assert 0 < len(done) < first.run.spec.plan.shards
    again = Solving(first.config)
    await again.work()
    assert {shard for _, shard in again.cluster.worked}.isdisjoint(done)
    assert standing(again.run).finished
    assert [c.sha256 for c in again.run.commits("solve")] == [
        c.sha256 for c in beam.run.commits("solve")
    ], "as if it had never been interrupted"


@pytest.mark.parametrize(
    ("asked", "field"),
    [
        ({"solve.n": 12}, "configuration.solve.n: stored 8, asked for 12"),
        ({"verify.histories": 2}, "configuration.verify.histories: stored 3, asked for 2"),
        ({"solve.temperature": 0.1}, "configuration.solve.temperature: stored 0.7, asked"),
    ],
)
def test_other_settings_are_refused_field_by_field(
    beam: Solving, asked: dict[str, Any], field: str
) -> None:
    config = configure(Path(beam.config.problems).parent, run=beam.run.name, **asked)
    with pytest.raises(SpecMismatch) as caught:
        start_run(config, beam.run.store, None, beam.given.rows)
    assert field in str(caught.value)


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"verify.prune": "steps"}, r"verify\.prune"),
        ({"solve.width": 9}, r"`solve\.width` 9 is more"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(
    tmp_path: Path, asked: dict[str, Any], said: str
) -> None:
    config = configure(tmp_path, **asked)
    with pytest.raises(ConfigurationError, match=said):
        config.check_input(config.read_input())


@pytest.mark.parametrize(
    ("asked", "reason"),
    [
        ({"solve.budget": 1}, "budget"),
        ({"solve.depth": 1}, "depth"),
        ({"solve.nodes": 8}, "nodes"),
        ({"solve.step_tokens": 1}, "dead_end"),
    ],
)
def test_a_search_that_its_limits_end_is_a_counted_drop_whose_row_is_kept(
    tmp_path: Path, asked: dict[str, Any], reason: str
) -> None:
    made = Solving(configure(tmp_path, limit=4, floor="off", **asked)).finish()
    assert audit(made.run).findings == ()
    assert made.run.totals("solve").drops == {reason: 4}
    for row in made.rows:
        assert (row.answer, row.correct, row.chosen, row.ended) == (None, False, -1, reason)
        assert row.steps, "what was paid for is kept"


def test_problems_without_answers_are_solved_and_not_graded(tmp_path: Path) -> None:
    config = configure(tmp_path)
    rows = [{"problem": problem.text} for problem in WORLD.values()]
    file = tmp_path / "questions.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows[:3]))
    made = Solving(replace(config, problems=str(file))).finish()
    assert made.given.said == [f"{file}: 3 problems, 0 with answers"]
    assert {row.correct for row in made.rows} == {None}
    assert all(row.answer for row in made.rows)
    assert write_solutions(made.run, tmp_path / "out").accuracy is None


def test_a_row_that_is_no_problem_is_refused_with_its_place(tmp_path: Path) -> None:
    file = tmp_path / "questions.jsonl"
    file.write_text('{"problem": "1 + 1?"}\n{"text": "2 + 2?"}\n')
    config = replace(configure(tmp_path), problems=str(file))
    with pytest.raises(InputError, match="line 2"):
        config.read_input()


def test_the_files_hold_every_search_and_can_be_scored(beam: Solving, tmp_path: Path) -> None:
    summary = write_solutions(beam.run, tmp_path / "out")
    assert summary.accuracy == beam.right()
    table = pq.read_table(tmp_path / "out" / "searches.parquet")
    assert from_table(Solved, table) == beam.rows
    file = tmp_path / "out" / "solutions.jsonl"
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    for line, row in zip(lines, beam.rows, strict=True):
        assert line["steps"] == row.solution
        assert line["rewards"] == row.rewards_of(row.candidates[row.chosen])
        assert len(line["candidates"]) == len(row.candidates)
    assert [response.steps for response in read_responses(file)] == [r.solution for r in beam.rows]


def test_the_same_search_asks_for_the_same_samples_whatever_the_shards(
    beam: Solving, tmp_path: Path
) -> None:
    other = Solving(configure(tmp_path, shard_size=1, **{"cluster.parallel_shards": 3})).finish()
    assert other.rows == beam.rows


def test_neither_model_is_shown_the_answer(tmp_path: Path) -> None:
    config = configure(tmp_path, limit=2)
    told: list[Problem] = [
        replace(problem, answer="999983") for problem in config.read_input().rows
    ]
    made = Solving(config)
    wrong = Solving(replace(config, run="other"))
    assert [problem.answer for problem in told] == ["999983"] * 2
    made.finish()
    wrong.run = start_run(replace(config, run="told"), open_store(config.store), None, told)
    wrong.cluster = SolvingCluster(wrong.run, config)
    wrong.finish()
    assert [row.solution for row in wrong.rows] == [row.solution for row in made.rows]
    assert not any(row.correct for row in wrong.rows)
