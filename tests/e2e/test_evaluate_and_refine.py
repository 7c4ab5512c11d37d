"""`evaluate` and `refine` with scripted models: figures from commits, and nobody is asked twice."""

from __future__ import annotations

import asyncio
import json
import random
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from actors.engines.contract import Chat
from actors.engines.scripted import ScriptedEngine
from actors.workers.contract import Processor
from actors.workers.worker import ShardWorker
from demo import check
from launch.cli.main import run_command
from launch.verbs.models.evaluate import evaluate_file
from launch.verbs.models.refine import refine_file
from storage.audit import audit
from storage.errors import UserError
from storage.objects.opening import open_store
from storage.rows.kinds import VERIFICATIONS
from storage.rows.records import Response
from storage.runs.run import Run
from tests.scripted_verifier import PROBLEMS, asked, verifier, world_responses
from tests.support.golden import check_golden
from tests.support.local_cluster import LocalCluster
from tests.support.scripted_world import InProcessSandbox, world_problems, write_problems
from workflows.evaluation import run as evaluate
from workflows.evaluation.processbench import Judgement, score
from workflows.evaluation.run import Evaluation, Verifier
from workflows.formats import steps
from workflows.formats.refinement import RefineSettings
from workflows.refinement import turns as refine
from workflows.refinement.run import RefineConfig
from workflows.refinement.turns import Refinement
from workflows.runs.driving import continue_run
from workflows.runs.starting import Start
from workflows.runs.workers import StageMaker, floor_of
from workflows.scoring.settings import ScoreConfig

VERIFIER = "tests.scripted_verifier:verifier"
BLIND, MUTE = f"{__name__}:blind", f"{__name__}:mute"
WORLD = {problem.text: problem for problem in world_problems(PROBLEMS)}


def blind(chat: Chat, seed: int) -> str:
    """Calls every step right or wrong by a coin."""
    asked(chat)
    return random.Random(seed).choice(["Yes", "No"])


def mute(chat: Chat, seed: int) -> str:
    """Knows no verdicts."""
    return "Perhaps"


SCRIPTS = {VERIFIER: verifier, BLIND: blind, MUTE: mute}


def generator(chat: Chat, seed: int) -> str:
    """Goes on with the reference solution, whatever stands before."""
    problem = WORLD[chat.messages[1].content]
    begun = len(steps.split(chat.prefill)) - 1
    rest = problem.reference_solution
    more = [f"{steps.header(begun + 1 + at)}{step}" for at, step in enumerate(rest)]
    return steps.SEPARATOR.join(more).removeprefix(steps.header(begun + 1))


class Here:
    """Everything that a cluster would do, in this process; counts the shards it worked on."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.worked: Counter[str] = Counter()
        monkeypatch.setattr(
            "workflows.runs.site.Site.complete",
            lambda site, run, config, start=None: self.complete(run, config, start),
        )

    def complete(self, run: Run, config: ScoreConfig | RefineConfig, start: Start | None) -> None:
        maker = StageMaker(config, run.name)
        if isinstance(config, RefineConfig):
            self._work(run, config, asyncio.run(maker.stages("generator", None)), start)
            return
        script = SCRIPTS[config.models.verifier.model]
        engine = ScriptedEngine(script, config.models.verifier)
        self._work(run, config, maker.around("verifier", engine, InProcessSandbox()), start)

    def _work(
        self, run: Run, config: Any, stages: Mapping[str, Processor], start: Start | None
    ) -> None:
        begin = start.store if start else None
        cluster = OneStage(run, stages, config)
        asyncio.run(continue_run(run, config, cluster, 1, lambda event: None, begin=begin))
        self.worked.update(stage for stage, _ in cluster.worked)


class OneStage(LocalCluster):
    """Workers of a road of one stage."""

    def __init__(self, run: Run, stages: Mapping[str, Processor], config: Any) -> None:
        super().__init__(run, lambda role: stages, floor_of(config), config.road)
        self._reads = {stage.name: stage.reads for stage in config.road}
        self._made = stages

    async def open(self, worker: int, role: str) -> None:
        async def stages() -> Mapping[str, Processor]:
            return self._made

        self._workers[worker] = ShardWorker(
            self._run, self._reads, stages, f"{role}-{worker}", self._floor
        )
        await self._workers[worker].open()


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> Here:
    return Here(monkeypatch)


def settings(folder: Path) -> dict[str, Any]:
    return {
        "store": f"file:{folder}/store", "shard_size": 5, "models.verifier.kind": "scripted",
    }  # fmt: skip


def responses_file(folder: Path, rows: Sequence[Response]) -> Path:
    file = folder / "world.jsonl"
    file.write_text("".join(json.dumps(asdict(row)) + "\n" for row in rows))
    return file


def evaluation(folder: Path, **change: Any) -> Evaluation:
    wanted = Evaluation(
        file=responses_file(folder, world_responses()),
        suite="processbench",
        verifiers=(Verifier("verifier", VERIFIER, "cot"), Verifier("blind", BLIND, "direct")),
        n=4,
        asked=settings(folder),
    )
    return replace(wanted, **change)


def test_the_table_holds_the_f1_of_what_each_verifier_said(here: Here, tmp_path: Path) -> None:
    found = evaluate_file(evaluation(tmp_path), tmp_path / "out", None, True)
    value = {
        (one.verifier, one.measure, one.k): one.value
        for one in found.measures if one.subset == ""
    }  # fmt: skip
    assert value["verifier", "f1", 4] > value["blind", "f1", 4]
    assert value["verifier", "f1", 4] >= value["verifier", "f1", 1]
    run = Run.open(open_store(f"file://{tmp_path}/store"), found.runs["verifier"])
    assert audit(run).findings == ()
    # By hand, from the committed rows: the first history alone of the four.
    rows = [row for shard in sorted(run.shards_of("score"))
            for row in run.read_rows(VERIFICATIONS, shard)]  # fmt: skip
    each = []
    for number in range(4):
        said = {row.response_id: row.rewards for row in rows if row.history == number}
        judged = [
            Judgement("world", one.label or 0, next(
                (at for at, reward in enumerate(said[one.response_id]) if reward < 0.5), -1))
            for one in world_responses()
        ]  # fmt: skip
        each.append(score(judged).f1)
    assert value["verifier", "f1", 1] == pytest.approx(sum(each) / 4)
    table = pq.read_table(tmp_path / "out" / "measures.parquet")
    assert table.num_rows == len(found.measures)
    assert (tmp_path / "out" / "maj_at_n.png").stat().st_size > 1000


def test_evaluating_again_asks_nobody_and_more_baselines_only_themselves(
    here: Here, tmp_path: Path
) -> None:
    alone = evaluation(tmp_path, verifiers=(Verifier("verifier", VERIFIER, "cot"),), n=2)
    first = evaluate.evaluate(alone)
    asked_once = here.worked.copy()
    assert asked_once["score"] == 3
    assert evaluate.evaluate(alone) == first
    assert here.worked == asked_once
    more = replace(alone, verifiers=(*alone.verifiers, Verifier("blind", BLIND, "direct")))
    assert evaluate.evaluate(more).measures[: len(first.measures)] == first.measures
    assert here.worked["score"] == 6


def test_a_model_without_verdicts_is_a_result_of_an_evaluation_and_the_end_of_a_score(
    here: Here, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    alone = evaluation(tmp_path, verifiers=(Verifier("mute", MUTE, "direct"),))
    store = f"file://{tmp_path}/store"
    run = Run.open(open_store(store), evaluate.evaluate(alone).runs["mute"])
    assert run.totals("score").drops == {"no_verdict": PROBLEMS}
    (tmp_path / "more.yaml").write_text("models: {verifier: {kind: scripted}}")
    command = ["score", MUTE, str(tmp_path / "world.jsonl"), "--mode", "direct", "--n", "4"]
    assert run_command([*command, "--config", f"{tmp_path}/more.yaml", "--store", store]) == 2
    said = capsys.readouterr().err
    assert "stopped in stage score: of 48 texts 48 are of no use (no_verdict 48)" in said


def test_probes_ask_about_rewritten_solutions(here: Here, tmp_path: Path) -> None:
    right = [row for row in world_responses() if row.label == -1]
    assert right
    wanted = evaluation(tmp_path, probes=("corrupted",), n=5)
    found = evaluate.evaluate(replace(wanted, verifiers=wanted.verifiers[:1]))
    value = {one.measure: (one.value, one.solutions) for one in found.measures}
    assert value["corruption_caught"][1] == len(right)
    assert value["corruption_caught"][0] > 0.5


def test_pruned_histories_have_the_f1_of_all_and_no_other_measure(
    here: Here, tmp_path: Path
) -> None:
    wanted = evaluation(tmp_path)
    wanted = replace(wanted, verifiers=wanted.verifiers[:1])
    pruning = {**wanted.asked, "verify.prune": "first_error"}
    whole = {(m.subset, m.measure, m.k): m.value for m in evaluate.evaluate(wanted).measures}
    pruned = evaluate.evaluate(replace(wanted, asked=pruning)).measures
    assert {"f1", "f1_spread", "error_accuracy"} <= {m.measure for m in pruned}
    for m in pruned:
        assert (m.k, m.value) == (wanted.n, whole[m.subset, m.measure, m.k])
    refused = replace(wanted, asked=pruning, threshold=0.4)
    with pytest.raises(UserError, match=r"verify\.prune"):
        evaluate.evaluate(refused)


def test_best_of_n_is_measured_beside_majority(here: Here, tmp_path: Path) -> None:
    rows = [
        replace(row, response_id=f"{row.response_id}/{number}", label=None,
                correct=check.first_error(WORLD[row.problem], row.steps) is None)
        for row in world_responses()
        for number in range(2)
    ]  # fmt: skip
    wanted = replace(evaluation(tmp_path, suite="bon", n=2), file=responses_file(tmp_path, rows))
    found = evaluate_file(wanted, tmp_path / "out", None, False)
    value = {(one.verifier, one.measure, one.k): one.value for one in found.measures}
    share = sum(bool(row.correct) for row in rows) / len(rows)
    assert value["verifier", "pass_at_1", 2] == pytest.approx(share)
    assert value["verifier", "argmax_min", 2] == value["verifier", "majority", 2]
    assert (tmp_path / "out" / "best_of_n.png").exists()


@pytest.mark.parametrize("form", ["conversation", "prefix"])
def test_refinement_raises_accuracy_stops_and_is_not_paid_for_twice(
    here: Here, tmp_path: Path, form: Any
) -> None:
    rows = [replace(row, label=None) for row in world_responses()]
    wrong = [row for row in rows if check.first_error(WORLD[row.problem], row.steps) is not None]
    assert wrong
    wanted = Refinement(
        model=VERIFIER,
        generator=f"{__name__}:generator",
        file=responses_file(tmp_path, rows),
        problems=write_problems(list(WORLD.values()), tmp_path / "problems.jsonl"),
        turns=3,
        settings=RefineSettings(form=form),
        score_asked=settings(tmp_path) | {"verify.histories": 5, "verify.mode": "cot"},
    )
    refining_config = partial(refine._generator, wanted)

    def scripted(_: Refinement, store: str) -> RefineConfig:
        config = refining_config(store)
        engine = replace(config.models.generator, kind="scripted")
        return replace(config, models=replace(config.models, generator=engine))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(refine, "_generator", scripted)
        turns = refine_file(wanted, tmp_path / "out", None, False)
        paid = here.worked.copy()
        assert refine_file(wanted, tmp_path / "again", None, True) == turns
    assert here.worked == paid
    assert turns[0].accuracy is not None and turns[-1].accuracy is not None
    assert turns[-1].accuracy > turns[0].accuracy
    assert turns[1].criticised >= turns[1].changed > 0
    assert [turn.accepted for turn in turns] == sorted(turn.accepted for turn in turns)
    store = open_store(f"file://{tmp_path}/store")
    names = {entry.key.split("/")[1] for entry in store.list("runs/")}
    for name in sorted(names):
        check_golden(f"refine {form}: {name}", Run.open(store, name))
    kept = [json.loads(line) for line in (tmp_path / "out" / "responses.jsonl").open()]
    assert [row["response_id"] for row in kept] == [row.response_id for row in rows]


WRONG_INPUT = [
    pytest.param(["evaluate", "MODEL", "bon.jsonl"], "--suite bon", id="another suite's file"),
    pytest.param(["evaluate", "MODEL", "pb.jsonl", "--suite", "bon"], "needs 8", id="too few"),
    pytest.param(["evaluate", "MODEL", "half.jsonl"], "holds no correct", id="one class only"),
    pytest.param(["evaluate", "MODEL", "pb.jsonl", "--baseline", "x"], "NAME=MODEL", id="baseline"),
    pytest.param(["evaluate", "MODEL", "pb.jsonl", "--mode", "cots"], "choose one of", id="mode"),
    pytest.param(["evaluate", "MODEL", "pb.jsonl", "--probe", "x"], "reversed", id="probe"),
    pytest.param(["evaluate", "nowhere", "pb.jsonl"], "does not exist", id="no model"),
    pytest.param(["refine", "MODEL", "pb.jsonl"], "--generator", id="no generator"),
    pytest.param(["refine", "MODEL", "pb.jsonl", "--generator", "nowhere"], "does not exist",
                 id="generator that is not there"),
    pytest.param(["refine", "MODEL", "pb.jsonl", "--generator", "MODEL", "--problems", "p.jsonl"],
                 "no answer of problem", id="answers of other problems"),
]  # fmt: skip


@pytest.mark.parametrize(("arguments", "said"), WRONG_INPUT)
def test_wrong_input_is_said_before_any_work(
    arguments: list[str],
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    base = {"problem": "2 + 3?", "steps": ["2 + 3 = 5."]}
    files = {
        "bon": [base | {"id": "a", "final_answer_correct": True}],
        "pb": [base | {"id": "a", "label": 0, "final_answer_correct": False},
               base | {"id": "b", "label": -1, "problem": "3 + 2?", "final_answer_correct": True}],
        "half": [base | {"id": "a", "label": 0}],
        "p": [{"problem_id": "other", "problem": "1 + 1?", "answer": "2"}],
    }  # fmt: skip
    for name, rows in files.items():
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    model = str(Path(__file__).parents[2] / "demo" / "models" / "rationale")
    assert run_command([model if part == "MODEL" else part for part in arguments]) == 2
    shown = capsys.readouterr().err
    assert said in shown
    assert "Traceback" not in shown
    assert not (tmp_path / ".stepmill").exists() or not list(
        (tmp_path / ".stepmill").rglob("*.json")
    )
