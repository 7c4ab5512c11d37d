"""The stages that generate, measured on one engine of a published shape (`benchmarks.gpu`).

The model draws the tokens of a sample, a script says its text: so lengths and speed are the
engine's, and solutions are right or wrong and code runs as in a build.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path as Folder
from typing import Any

from actors.engines.contract import Chat, Completion, EngineSettings, Reply, Sampling
from actors.engines.scripted import Script, ScriptedEngine
from actors.engines.vllm import VllmEngine
from actors.sandbox.contract import SandboxSettings
from actors.sandbox.opening import open_sandbox
from actors.workers.contract import Processor
from benchmarks import paper_world
from benchmarks.saturation import Stopwatch, Tap, asked_directly, forget
from demo import world
from storage.rows.kinds import LABELS, PATHS, PROBLEMS, ShardRows
from storage.rows.records import Path, PathLabels, Problem
from workflows.builds.configuration import BuildConfig, ModelSettings
from workflows.runs.workers import StageMaker
from workflows.settings import EstimateSettings, RationalizeSettings, SampleSettings, StageSettings

WORDS = 272
"""The small vocabulary; also the mean of the lengths before they are cut at twice as many."""


@dataclass(frozen=True)
class Row:
    """One line of the table."""

    part: str
    seconds: float
    tokens: int = 0
    tokens_per_s: float = 0.0
    share: float | None = None
    """Of the same engine asked directly; of a training, of the card's own arithmetic."""
    note: str = ""

    def tell(self) -> None:
        """Say at once what is known."""
        share = "" if self.share is None else f"share {self.share:.3f}; "
        print(f"{self.part}: {self.seconds:.1f} s; {share}{self.note}", file=sys.stderr, flush=True)


class Budget:
    """Time after which no part is begun any more."""

    def __init__(self, minutes: float) -> None:
        self._minutes = minutes
        self._ends = time.monotonic() + 60 * minutes

    def allows(self, part: str, rows: list[Row]) -> bool:
        """Whether a part may begin; where not, its row says so."""
        if time.monotonic() < self._ends:
            return True
        rows.append(Row(part, 0.0, note=f"not begun: {self._minutes:g} minutes were spent"))
        rows[-1].tell()
        return False


class Voiced:
    """An engine whose samples take what its model draws and say what a script says."""

    def __init__(self, engine: VllmEngine | Tap, script: Script) -> None:
        self._engine = engine
        self._says = ScriptedEngine(script, EngineSettings(kind="scripted", max_in_flight=1 << 20))

    async def generate(self, chat: Chat, sampling: Sampling) -> Reply:
        """Draw, then speak."""
        drawn = await self._engine.generate(chat, replace(sampling, stop=()))
        spoken = await self._says.generate(chat, replace(sampling, max_tokens=1 << 20))
        return replace(
            drawn, completions=tuple(map(_spoken, drawn.completions, spoken.completions))
        )

    async def close(self) -> None:
        """The engine is the bench's."""


def _spoken(drawn: Completion, said: Completion) -> Completion:
    return replace(said, tokens=drawn.tokens, logprobs=drawn.logprobs)


class Stages:
    """The three stages that generate, around one engine, and the same requests without them."""

    def __init__(self, arguments: argparse.Namespace, model: Folder, budget: Budget) -> None:
        self.arguments = arguments
        self.budget = budget
        self.settings = EngineSettings(
            model=str(model),
            max_in_flight=arguments.in_flight,
            max_model_len=arguments.context,
            eager=arguments.eager,
            options={"load_format": "dummy"},
        )
        models = ModelSettings(
            policy=self.settings, completer=self.settings, rationale=self.settings
        )
        longest = 2 * WORDS
        self.config = BuildConfig(
            run="gpu",
            problems="",
            models=models,
            stages=StageSettings(
                sample=SampleSettings(max_tokens=longest, first_round=16, cap=32),
                estimate=EstimateSettings(
                    max_tokens=longest, k_hard=64, k_medium=32, k_easy=16, probe=16
                ),
                rationalize=RationalizeSettings(
                    max_tokens=longest, total_tokens=arguments.context // 2
                ),
            ),
        )
        count = arguments.problems
        self.problems = tuple(
            Problem(f"p{number}", problem.text, paper_world.answer_of(problem.text))
            for number, problem in enumerate(world.sample(count, 0, "heldout"))
        )

    async def open(self) -> tuple[VllmEngine, Row]:
        """The engine, and how long it took to come up."""
        watch = Stopwatch()
        engine = await VllmEngine.open(self.settings)
        row = Row("start", watch.read()[0], note=self.settings.model.rpartition("/")[2])
        row.tell()
        return engine, row

    def stage(self, name: str, engine: Tap, sandbox: Any, config: BuildConfig) -> Processor:
        """A stage whose model speaks."""
        role, script = {
            "sample": ("policy", paper_world.policy),
            "estimate": ("completer", paper_world.completer),
            "rationalize": ("rationale", paper_world.rationale),
        }[name]
        return StageMaker(config, "gpu").around(role, Voiced(engine, script), sandbox)[name]

    async def measured(
        self, part: str, name: str, engine: VllmEngine, shards: Sequence[ShardRows],
        sandbox: Any = None, config: BuildConfig | None = None,
    ) -> tuple[Row, list[Any]]:  # fmt: skip
        """A stage over shards that are in flight together, then its requests straight to vLLM."""
        tap = Tap(engine)
        stage = self.stage(name, tap, sandbox, config or self.config)
        await forget(engine)
        watch = Stopwatch()
        results = await asyncio.gather(*(stage.run(rows) for rows in shards))
        seconds, _ = watch.read()
        await forget(engine)
        watch = Stopwatch()
        tokens = sum(span.tokens for span in await asked_directly(engine, tap.asked))
        raw = tokens / watch.read()[0]
        rate = tap.tokens / seconds
        drops = sum(len(result.drops) for result in results)
        note = f"raw {raw:,.0f} tokens/s; {len(tap.asked)} requests, {drops} dropped"
        row = Row(part, seconds, tap.tokens, rate, rate / raw, note)
        row.tell()
        return row, [result.rows for result in results]

    def shards(self, size: int) -> list[ShardRows]:
        """The problems, cut into shards."""
        return [
            ShardRows({PROBLEMS: self.problems[at : at + size]})
            for at in range(0, len(self.problems), size)
        ]

    async def full(self) -> list[Row]:
        """One engine of the published vocabulary: its start, and a round of whole samples."""
        engine, started = await self.open()
        try:
            sample = SampleSettings(max_tokens=256, first_round=16, cap=16)
            config = replace(self.config, stages=replace(self.config.stages, sample=sample))
            everything = self.shards(len(self.problems))
            few = [ShardRows({PROBLEMS: self.problems[:4]})]
            await self.measured("warm", "sample", engine, few, config=config)
            row, _ = await self.measured("full", "sample", engine, everything, config=config)
        finally:
            await engine.close()
        return [started, row]

    async def wide(self, wanted: Sequence[str]) -> list[Row]:
        """Stage after stage with lengths that differ."""
        lines: list[Row] = []
        if not self.budget.allows(" ".join(wanted), lines):
            return lines
        engine, started = await self.open()
        lines.append(started)
        sandbox = open_sandbox(SandboxSettings()) if "rationale" in wanted else None
        try:
            if sandbox is not None:
                await sandbox.start()
            shards = self.shards(self.arguments.shard_size)
            row, paths = await self.measured("sample", "sample", engine, shards)
            lines += [row] if "sample" in wanted else []
            if "estimate" in wanted and self.budget.allows("estimate", lines):
                some = _selected(shards, paths, self.arguments.paths)
                lines.append((await self.measured("estimate", "estimate", engine, some))[0])
            if sandbox is not None and self.budget.allows("rationale", lines):
                some = [
                    rows.but({LABELS: tuple(map(_label, rows[PATHS]))})
                    for rows in _selected(shards, paths, self.arguments.solutions)
                ]
                row, _ = await self.measured(
                    "rationale", "rationalize", engine, some, sandbox=sandbox
                )
                lines.append(row)
        finally:
            await engine.close()
            if sandbox is not None:
                await sandbox.close()
        return lines


def _selected(
    shards: Sequence[ShardRows], paths: Sequence[Sequence[Path]], count: int
) -> list[ShardRows]:
    """The shards with `count` of their selected paths each."""
    return [
        rows.but({PATHS: tuple([path for path in written if path.selected][:count])})
        for rows, written in zip(shards, paths, strict=True)
    ]


def _label(path: Path) -> PathLabels:
    count = len(path.steps)
    return PathLabels(
        path.path_id, path.problem_id, mc=[1.0] * (count + 1), n=[1] * (count + 1),
        value=[1.0] * count, labels=[True] * count, first_error=None, form="ratio",
        threshold=0.8, policy_pass_at_1=0.5,
    )  # fmt: skip
