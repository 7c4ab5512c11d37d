"""Seconds per thousand solutions for labelling a finished run again under other settings.

    python -m benchmarks.relabel [--solutions 10000] [--estimate counts|posterior]

First a synthetic run is stored: 32 samples a problem, 8 of them selected, 7 steps each, 64 rollouts
a state. A rationale has about 9,000 characters, with one executed block a step. Then `build --from`
derives a run with another threshold and another consensus rule. It copies and checks samples,
rollouts and rationales, and makes and commits labels, agreements and the dataset anew. The time is
from the file of problems to the finished dataset, in one process, on a local store that flushes
every object to disk. No engine is made: opening one would end the program.

Invariant: everything but the seconds follows from the seed.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import resource
import tempfile
import time
from dataclasses import replace
from pathlib import Path as File
from typing import Any

import numpy as np

import workflows.runs.workers
from actors.engines.contract import EngineSettings
from storage.datasets.download import download
from storage.objects.opening import open_store
from storage.rows.kinds import PATHS, PROBLEMS, RATIONALES, ROLLOUTS
from storage.rows.records import AnswerCount, CodeRun, Path, Problem, Rationale, StateRollouts
from storage.runs.run import Run
from workflows.builds.configuration import BuildConfig, ModelSettings
from workflows.builds.derive import start_derived, take_over
from workflows.runs.run import finish
from workflows.runs.starting import planned, start_run
from workflows.runs.workers import makers
from workflows.settings import ConsensusSettings, EstimateSettings, LabelSettings, StageSettings

STEPS, SAMPLES, SELECTED, K = 7, 32, 8, 64
STEP = "We add the two numbers and carry the one, which gives the sum that the next step needs. "
ANALYSIS = "The paragraph takes the sum of the step before and doubles it, as it is asked. " * 6
CODE = "a = 12 + 5\nprint(a, a == 17)"
VERIFICATION = f"```python\n{CODE}\n```\n[Code Output]\n\n```\n17 True\n```\n" + "It agrees. " * 40


def configuration(folder: File, problems: int, shard_size: int) -> BuildConfig:
    """A build of scripted models over made-up problems; writes their file."""
    file = folder / "problems.jsonl"
    rows = (
        {"problem_id": f"p/{i}", "problem": f"What is {i} + 1?", "answer": str(i + 1)}
        for i in range(problems)
    )
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    model = EngineSettings(kind="scripted", model="none")
    return BuildConfig(
        run="finished",
        problems=str(file),
        store=f"file://{folder}/store",
        shard_size=shard_size,
        models=ModelSettings(policy=model, completer=model, rationale=model),
        stages=StageSettings(estimate=EstimateSettings(mc_budget="exact")),
    )


def samples_of(problem: Problem) -> list[Path]:
    """Every second one is right; the first eight are selected."""
    steps = [f"{STEP * 2}({number})" for number in range(STEPS)]
    text = "\n\n".join(f"Step {n}: {step}" for n, step in enumerate(steps, start=1))
    return [
        Path(
            path_id=f"{problem.problem_id}#{i}", problem_id=problem.problem_id, index=i, round=0,
            text=f"{text} {i}", steps=steps, finish_reason="stop",
            answer=problem.answer if i % 2 == 0 else "0", correct=i % 2 == 0, valid=True,
            invalid_reason=None, duplicate_of=None, selected=i < SELECTED, tokens=300, seed=i,
        )
        for i in range(SAMPLES)
    ]  # fmt: skip


def error_of(path: Path) -> int:
    """The wrong step of a wrong path."""
    return path.index // 2 % STEPS


def rollouts_of(path: Path, rand: np.random.Generator) -> list[StateRollouts]:
    """Success probabilities that stay, but for some doubt, and fall at a wrong path's error."""
    mc = np.full(STEPS, 0.8) * rand.choice([1.0, 0.75], STEPS, p=[0.9, 0.1])
    if not path.correct:
        mc[error_of(path) + 1 :] *= 0.15
    return [
        StateRollouts(
            path_id=path.path_id, problem_id=path.problem_id, state=state, round=0, n=K, c=int(c),
            answers=[AnswerCount("1", int(c), True), AnswerCount("2", K - int(c), False)],
            truncated=0, stop_rule="exact", shared=False, model="none", seed=0, tokens=100 * K,
        )
        for state, c in enumerate(rand.binomial(K, mc))
    ]  # fmt: skip


def rationale_of(path: Path, rand: np.random.Generator) -> Rationale:
    """The judge finds a wrong solution's error two times in three."""
    step = error_of(path) if rand.random() < 0.67 else int(rand.integers(STEPS))
    index = -1 if path.correct else step
    return Rationale(
        path_id=path.path_id, problem_id=path.problem_id, analyses=[ANALYSIS] * STEPS,
        verifications=[VERIFICATION] * STEPS,
        executions=[CodeRun(n, CODE, "17 True\n", "ok", 0.02, 0.0) for n in range(STEPS)],
        votes=[index] * 4, text=(ANALYSIS + VERIFICATION) * STEPS, code_rounds=STEPS,
        finish_reason="stop", model="none", seed=0, tokens=3000,
    )  # fmt: skip


async def store_finished(config: BuildConfig, seed: int) -> Run:
    """The run that is to be labelled again."""
    run = start_run(config, open_store(config.store), None)
    rand = np.random.default_rng(seed)
    worker = makers(run, config)["cpu"]("synthetic", None)
    await worker.open()
    for shard in range(run.spec.plan.shards):
        problems: list[Problem] = run.read_rows(PROBLEMS, shard)
        paths = [path for problem in problems for path in samples_of(problem)]
        chosen = [path for path in paths if path.selected]
        rolled = [row for path in chosen for row in rollouts_of(path, rand)]
        run.publish(PATHS, shard, paths)
        spent = {"rollouts": K * len(rolled), "tokens": sum(row.tokens for row in rolled)}
        run.publish(ROLLOUTS, shard, rolled, counts=spent)
        await worker.work("label", shard)
        run.publish(RATIONALES, shard, [rationale_of(p, rand) for p in chosen])
        for stage in ("consensus", "export"):
            await worker.work(stage, shard)
    finish(run)
    return run


async def relabelled(config: BuildConfig, source: Run) -> Run:
    """What `build --from` does after preflight."""
    run = start_derived(config, source.store, planned(config, None), source)
    await made_of(run, config)
    return run


async def made_of(run: Run, config: BuildConfig) -> None:
    """Copy, label and seal a derived run."""
    inherited = await take_over(run, makers(run, config)["cpu"])
    assert inherited is not None
    finish(run)


def no_engine(settings: EngineSettings) -> Any:
    """Stands for `open_engine`."""
    raise SystemExit("an engine was asked for")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--solutions", type=int, default=10_000)
    parser.add_argument("--shard-size", type=int, default=64, help="problems in one shard")
    parser.add_argument("--estimate", choices=("counts", "posterior"), default="counts")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", type=File, default=None, help="where the stores lie")
    arguments = parser.parse_args()
    workflows.runs.workers.open_engine = no_engine
    with tempfile.TemporaryDirectory(dir=arguments.folder) as name:
        config = configuration(
            File(name), -(-arguments.solutions // SELECTED), arguments.shard_size
        )
        source = asyncio.run(store_finished(config, arguments.seed))
        posterior = arguments.estimate == "posterior"
        stages = replace(
            config.stages,
            estimate=replace(config.stages.estimate, pilot="finished" if posterior else None),
            label=LabelSettings(threshold=0.7, estimate=arguments.estimate),
            consensus=ConsensusSettings(rule="first_error"),
        )
        wall, cpu = time.perf_counter(), time.process_time()
        run = asyncio.run(relabelled(replace(config, run="again", stages=stages), source))
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        solutions = run.totals("label").rows
        kept = [each.totals("export").rows for each in (source, run)]
        rows = download(run, File(name) / "dataset").rows
    assert rows == kept[1] != kept[0]
    thousand = solutions / 1000
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(
        f"{solutions:,} solutions of {STEPS} steps labelled again by {arguments.estimate}: "
        f"{wall:.1f} s, {wall / thousand:.2f} s and {cpu / thousand:.2f} CPU s a thousand; "
        f"{kept[0]:,} kept before, {kept[1]:,} now; peak memory {peak:.0f} MB"
    )


if __name__ == "__main__":
    main()
