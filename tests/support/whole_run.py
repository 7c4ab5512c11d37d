"""A small finished run with a few drops at every stage: what the tests of readers start from."""

from __future__ import annotations

from pathlib import Path as Folder

from storage.datasets.dataset import assemble
from storage.objects.local import LocalStore
from storage.objects.patience import Patience
from storage.objects.store import ObjectStore
from storage.rows.kinds import AGREEMENTS, EXAMPLES, LABELS, PATHS, PROBLEMS, RATIONALES, ROLLOUTS
from storage.rows.parquet import encode_shard
from storage.rows.records import (
    Agreement,
    AnswerCount,
    CodeRun,
    Drop,
    Example,
    Message,
    Path,
    PathLabels,
    Problem,
    Rationale,
    StateRollouts,
)
from storage.runs import layout
from storage.runs.run import Run
from storage.runs.specs import ShardPlan, Spec, input_digest

QUICK = Patience(tries=3, sleep=lambda _: None)


def problems(count: int = 7) -> list[Problem]:
    return [Problem(f"train/{n}", f"What is {n} + 1?", str(n + 1)) for n in range(count)]


def path(problem_id: str, index: int, *, selected: bool = True) -> Path:
    steps = ["One.", "Two."]
    return Path(
        f"{problem_id}#{index}", problem_id, index, 0, "Step 1: One.\nStep 2: Two.", steps, "stop",
        "2", True, True, None, None, selected, 12, 99 + index,
    )  # fmt: skip


def rollouts(of: Path, state: int) -> StateRollouts:
    answers = [AnswerCount("2", 5, True), AnswerCount(None, 3, False)]
    return StateRollouts(
        of.path_id, of.problem_id, state, 0, 8, 5, answers, 1, "exact", state == 0, "m", 7, 80
    )


def labels(of: Path) -> PathLabels:
    return PathLabels(
        of.path_id, of.problem_id, [0.5, 0.625, 1.0], [8, 8, 0], [1.25, 1.6], [True, True], None,
        "ratio", 0.8, 0.5,
    )  # fmt: skip


def rationale(of: Path) -> Rationale:
    runs = [CodeRun(0, "print(1)", "1", "ok", 0.01, 0.0)]
    return Rationale(
        of.path_id, of.problem_id, ["a", "b"], ["v", "w"], runs, [-1, None], "text", 1, "stop",
        "writer", 5, 300,
    )  # fmt: skip


def agreement(of: Path, kept: bool = True) -> Agreement:
    return Agreement(
        of.path_id, of.problem_id, kept, None if kept else "index_mismatch", None, None, "all_steps"
    )


def example(of: Path, run: str) -> Example:
    turns = [Message("system", "You are a math teacher."), Message("user", "Question: ä ∑ 数\n")]
    return Example(
        turns, of.problem_id, of.path_id, [True, True], None, [0.5, 0.625, 1.0],
        [CodeRun(0, "print(1)", "1", "ok", 0.01, 0.0)], "p", "c", "w", run,
    )  # fmt: skip


def started(store: ObjectStore, name: str = "whole", count: int = 7, per_shard: int = 3) -> Run:
    """A run of which the problems are stored."""
    given = problems(count)
    spec = Spec(
        {"sample": {"cap": 64}, "seed": 1}, input_digest(given), ShardPlan(count, per_shard),
        models={"policy": "tiny", "completer": "small"},
    )  # fmt: skip
    run = Run.start(store, name, spec, QUICK)
    run.store_input(given)
    return run


def work_shard(run: Run, shard: int) -> None:
    """All stages of a shard: the first problem is dropped by sampling, the last path by others."""
    asked = run.read_rows(PROBLEMS, shard)
    gone = [Drop(asked[0].problem_id, "no_correct_path", "8 paths")] if len(asked) > 1 else []
    paths = [
        path(problem.problem_id, index, selected=not gone or problem is not asked[0])
        for problem in asked
        for index in range(4)
    ]
    on = [one for one in paths if one.selected]
    run.publish(PATHS, shard, paths, gone, {"tokens": 12 * len(paths)}, 1.5)
    states = [rollouts(one, state) for one in on for state in range(2)]
    run.publish(ROLLOUTS, shard, states, [Drop(on[0].path_id, "mc_zero_start")])
    on = on[1:]
    run.publish(LABELS, shard, [labels(one) for one in on])
    written = [rationale(one) for one in on[1:]]
    run.publish(RATIONALES, shard, written, [Drop(on[0].path_id, "no_code")])
    on = on[1:]
    judged = [agreement(one, kept=one is not on[0]) for one in on]
    lost = [Drop(on[0].path_id, "label_mismatch")]
    run.publish(AGREEMENTS, shard, judged, lost, {"kept": len(on) - 1})
    run.publish(EXAMPLES, shard, [example(one, run.name) for one in on[1:]])


def finished(store: ObjectStore, name: str = "whole", count: int = 7, per_shard: int = 3) -> Run:
    """A run with `_SUCCESS.json`."""
    run = started(store, name, count, per_shard)
    for shard in range(run.spec.plan.shards):
        work_shard(run, shard)
    run.finish()
    return run


def in_folder(folder: Folder) -> Folder:
    """The same as a store in a folder, with its dataset."""
    assemble(finished(LocalStore.at(folder)))
    return folder


def stray(stage: str, shard: int, text: str) -> tuple[str, bytes]:
    """Key and data of a shard that no commit names."""
    encoded = encode_shard(Problem, [Problem(text, "q", "1")])
    return layout.data_key("whole", stage, shard, encoded.sha256), encoded.data
