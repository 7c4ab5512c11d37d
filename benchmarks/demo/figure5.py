"""Accuracy against generated tokens on the demo world: GenPRM's Figure 5 in small.

    python -m benchmarks.figure5                  # behind `make demo`; trains a verifier if need be
    python -m benchmarks.figure5 --problems 24 --per-subset 16 --seeds 1     # in some minutes

    FOLDER/searches.parquet, pruning.parquet    every problem, and every solution, of each point
    FOLDER/figure5.parquet, figure5.json, figure5.png                        the points

Left: problems of the demo world, solved by the demo's policy with the trained verifier by stage
`solve`. Right: Maj@N of the same verifier by stage `score` on the demo's ProcessBench, with all
histories and without those that can't change a verdict. Tokens are those that a point asks for, of
both models; what several points ask for alike is computed once (`benchmarks.remembering`). Spreads
are standard deviations over benchmarks of this size, by drawing problems with replacement, and over
seeds.

Each point is stored when it is made, and a second call makes those that are missing.

What it does not show: seconds, larger models, problems that are not of the demo world.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import fmean
from typing import Any

from rich.console import Console

from actors.engines.contract import Engine
from actors.engines.opening import open_engine
from actors.models.identity import model_identity
from actors.sandbox.contract import Sandbox
from actors.sandbox.opening import open_sandbox
from benchmarks.figure5_values import (
    Judged,
    Searched,
    draw,
    part_of,
    read_parts,
    store,
    table_of,
    values_of,
)
from benchmarks.remembering import RememberingEngine, RememberingSandbox
from storage.rows.kinds import PROBLEMS, RESPONSES, ShardRows
from storage.rows.records import Problem, Response
from storage.runs.layout import DEFAULT_STORE
from workflows.answers.grading import grader
from workflows.inputs.problems import read_problems
from workflows.inputs.responses import read_responses
from workflows.runs.configuration import RunConfig
from workflows.scoring.asking import config_of as score_config
from workflows.settings import AnswerSettings
from workflows.solving.asking import config_of as solve_config
from workflows.stages.kit import Kit
from workflows.stages.score import SCORE
from workflows.stages.solve import SOLVE
from workflows.votes.rewards import averaged, first_error_index

ROOT = Path(__file__).parents[2]
POLICY = ROOT / "demo" / "models" / "policy"
RUN = "demo"
"""Run of `make demo`."""
IN_FLIGHT = 64


@dataclass(frozen=True, slots=True)
class Point:
    """One way to spend tokens."""

    family: str
    label: str
    asked: Mapping[str, Any]


def searches(most: int) -> list[Point]:
    """The points of the left panel; N up to `most`."""

    def points(family: str, sizes: Sequence[int], **asked: Any) -> list[Point]:
        named = {key.replace("__", "."): value for key, value in asked.items()}
        return [Point(family, f"{family} {n}", {**named, "solve.n": n}) for n in sizes if n <= most]

    whole: dict[str, Any] = {"solve__method": "best_of_n", "solve__early": False}
    early: dict[str, Any] = {"solve__method": "best_of_n"}
    return [
        *points("majority", (1, 2, 4, 8, 16, 32), solve__method="majority", solve__early=False),
        *points("best of N", (2, 4, 8, 16), **whole),
        *points("best of N, pruned", (4, 8, 16), **early),
        *points("best of N, pruned, enough 0.9", (8, 16), **early, solve__enough=0.9),
        *points("best of N, Maj@4", (4, 8), **whole, verify__histories=4),
        *points("beam", (4, 8, 16), solve__method="beam", solve__width=4),
        *points("DVTS", (8, 16), solve__method="dvts", solve__width=4),
    ]


def prunings(most: int) -> list[Point]:
    """The points of the right panel: Maj@N up to `most`, then rules for `most`."""
    sizes = [n for n in (1, 2, 4, 8) if n <= most]
    every = {"verify.histories": sizes[-1]}
    return [
        *(Point("Maj@N", f"Maj@{n}", {"verify.histories": n}) for n in sizes),
        Point("steps", "every verdict kept", {**every, "verify.prune": "steps"}),
        Point("first_error", "first error kept", {**every, "verify.prune": "first_error"}),
        *(
            Point("doubt", f"first error, doubt {doubt:g}",
                  {**every, "verify.prune": "first_error", "verify.doubt": doubt})
            for doubt in (0.05, 0.2)
        ),
    ]  # fmt: skip


class Bench:
    """The models of the figure, opened once."""

    def __init__(self, policy: Engine, verifier: Engine, sandbox: Sandbox) -> None:
        self._policy, self._verifier = RememberingEngine(policy), RememberingEngine(verifier)
        self._sandbox = RememberingSandbox(sandbox)
        self._graded_by = grader(AnswerSettings())

    async def solve(
        self, config: RunConfig, point: Point, seed: int, problems: Sequence[Problem]
    ) -> list[Searched]:
        """Make a point of the left panel."""
        beside = {"verifier": self._verifier} if "verifier" in config.engines else {}
        stage = SOLVE.make(self._kit(config, self._policy, beside))
        made = await stage.run(ShardRows({PROBLEMS: problems}))
        rows = {row.problem_id: row for row in made.rows}
        return [
            Searched(
                point.family, point.label, seed, problem.problem_id,
                bool(row and row.correct), row.policy_tokens if row else 0,
                row.verifier_tokens if row else 0,
            )
            for problem in problems
            for row in (rows.get(problem.problem_id),)
        ]  # fmt: skip

    async def judge(
        self, config: RunConfig, point: Point, seed: int, responses: Sequence[Response]
    ) -> list[Judged]:
        """Make a point of the right panel."""
        stage = SCORE.make(self._kit(config, self._verifier, {}))
        made = await stage.run(ShardRows({RESPONSES: responses}))
        found = []
        for response in responses:
            rows = [row for row in made.rows if row.response_id == response.response_id]
            rewards = [row.rewards for row in rows]
            found.append(
                Judged(
                    point.family, point.label, seed, response.response_id, response.subset,
                    -2 if response.label is None else response.label,
                    first_error_index(averaged(rewards)) if rewards else None,
                    sum(row.tokens for row in rows), sum(map(len, rewards)),
                )
            )  # fmt: skip
        return found

    def _kit(self, config: RunConfig, own: Engine, beside: Mapping[str, Engine]) -> Kit[Any]:
        (spec,) = config.road
        models = {role: model_identity(engine) for role, engine in config.engines.items()}
        return Kit(
            "figure5", config.settings, spec, models, config.sandbox.limits, opened=own,
            box=self._sandbox, graded_by=self._graded_by, beside=beside,
        )  # fmt: skip

    async def close(self) -> None:
        """Close what is its own."""
        await self._graded_by.close()


@dataclass(slots=True)
class Making:
    """Makes the points that are missing, with models that are opened when the first one is."""

    out: Path
    verifier: Path
    mode: str
    say: Callable[[str], None]
    held: AsyncExitStack = field(default_factory=AsyncExitStack)
    _bench: Bench | None = None

    @property
    def asked(self) -> dict[str, Any]:
        """The settings that all points have."""
        return {
            "models.policy.max_in_flight": IN_FLIGHT,
            "models.verifier.max_in_flight": IN_FLIGHT,
            "solve.max_tokens": 256,
            "solve.step_tokens": 96,
            "solve.depth": 24,
            "verify.mode": self.mode,
            "verify.max_tokens": 512,
        }

    async def bench(self) -> Bench:
        """The models. Raises UserError and InfrastructureError."""
        if self._bench is None:
            config = solve_config(str(POLICY), self._problems, str(self.verifier), None, self.asked)
            engines = []
            for role in ("policy", "verifier"):
                settings = replace(config.engine(role), dtype="float32")
                engine = await open_engine(settings, config.heal and role == "policy")
                self.held.push_async_callback(engine.close)
                engines.append(engine)
            sandbox = open_sandbox(config.sandbox)
            self.held.push_async_callback(sandbox.close)
            self._bench = Bench(engines[0], engines[1], sandbox)
            self.held.push_async_callback(self._bench.close)
        return self._bench

    async def prune(self, point: Point, seed: int, responses: Sequence[Response]) -> None:
        """Make a point of the right panel."""
        file = part_of(self.out, "pruning", point.label, seed)
        if file.exists():
            return
        of_search = ("solve.", "models.policy")
        asked = {k: v for k, v in self.asked.items() if not k.startswith(of_search)}
        asked |= {**point.asked, "verify.seed": seed}
        config = score_config(str(self.verifier), self.out / "benchmark", None, asked)
        rows = await (await self.bench()).judge(config, point, seed, responses)
        store(file, Judged, rows)
        spent = fmean(row.tokens for row in rows)
        self.say(f"seed {seed}, {point.label}: {spent:,.0f} tokens a solution")

    async def search(self, point: Point, seed: int, problems: Sequence[Problem]) -> None:
        """Make a point of the left panel."""
        file = part_of(self.out, "searches", point.label, seed)
        if file.exists():
            return
        asked = {**self.asked, **point.asked, "solve.seed": seed, "verify.seed": seed}
        config = solve_config(str(POLICY), self._problems, str(self.verifier), None, asked)
        rows = await (await self.bench()).solve(config, point, seed, problems)
        store(file, Searched, rows)
        spent = fmean(row.policy_tokens + row.verifier_tokens for row in rows)
        right = fmean(row.right for row in rows)
        self.say(f"seed {seed}, {point.label}: {right:.1%} right, {spent:,.0f} tokens a problem")

    @property
    def _problems(self) -> Path:
        return self.out / "benchmark" / "problems.jsonl"


def problems_of(bench: Path) -> list[Problem]:
    """The problems of the benchmark's best-of-N part, with their answers."""
    lines = (bench / "bon.jsonl").read_text(encoding="utf-8").splitlines()
    wanted = {json.loads(line)["problem_id"] for line in lines}
    return [each for each in read_problems(bench / "problems.jsonl") if each.problem_id in wanted]


async def make(making: Making, chosen: argparse.Namespace) -> None:
    """Make every point that is missing."""
    bench = making.out / "benchmark"
    problems, responses = problems_of(bench), read_responses(bench / "processbench")
    async with making.held:
        for seed in range(chosen.seeds if chosen.only != "search" else 0):
            for point in prunings(chosen.histories):
                await making.prune(point, seed, responses)
        for seed in range(chosen.seeds if chosen.only != "pruning" else 0):
            for point in searches(chosen.most):
                await making.search(point, seed, problems)


def prepare(out: Path, verifier: Path, chosen: argparse.Namespace) -> None:
    """Make benchmark and verifier where they are missing. Raises CalledProcessError."""
    bench = out / "benchmark"
    if not (bench / "problems.jsonl").exists():
        _run("-m", "demo.benchmark", "--out", str(bench), "--per-subset", str(chosen.per_subset),
             "--bon-problems", str(chosen.problems))  # fmt: skip
    if not verifier.exists():
        _run("-m", "launch", "train", str(ROOT / "configs" / "train_demo.yaml"), "--run", RUN,
             "--view", "genprm", "--store", chosen.store, "--out", str(verifier))  # fmt: skip


def _run(*arguments: str) -> None:
    subprocess.run([sys.executable, *arguments], cwd=ROOT, check=True)


def main(arguments: Sequence[str] | None = None) -> int:
    """Make what is missing, and show everything that is there."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.figure5", description=__doc__)
    parser.add_argument("--out", type=Path, default=Path(".stepmill/figure5"))
    parser.add_argument("--store", default=DEFAULT_STORE, help="store of the demo's run")
    parser.add_argument("--verifier", type=Path, help="trained verifier; default OUT/genprm")
    parser.add_argument("--mode", default="full", help="as `stepmill score --mode`")
    parser.add_argument("--problems", type=int, default=48)
    parser.add_argument("--per-subset", type=int, default=64, help="solutions per subset (even)")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--most", type=int, default=32, help="greatest N of the searches")
    parser.add_argument("--histories", type=int, default=8, help="N of Maj@N")
    parser.add_argument("--only", choices=("search", "pruning"), help="make one panel's points")
    parser.add_argument("--only-table", action="store_true", help="from what is there")
    chosen = parser.parse_args(arguments)
    out, console = chosen.out.resolve(), Console()
    verifier = (chosen.verifier or out / "genprm").resolve()
    if not chosen.only_table:
        prepare(out, verifier, chosen)
        making = Making(out, verifier, chosen.mode, lambda line: console.print(line))
        asyncio.run(make(making, chosen))
    searched = read_parts(out, "searches", Searched)
    judged = read_parts(out, "pruning", Judged)
    values = values_of(searched, judged)
    draw(values, out)
    console.print(table_of(values))
    console.print(f"written: {out}/figure5.png, figure5.parquet, figure5.json", highlight=False)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
