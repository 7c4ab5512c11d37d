"""The label laboratory: what every way of estimating costs on the demo world, and what it is worth.

Solutions and written verifications are a finished demo run's. Rollouts come from a bank of 512 per
state, drawn once from the completion model (`benchmarks.rollout_bank`) and handed out by seed. So
every strategy runs through the product's stages (`Completer`, `LabelStage`, `ConsensusStage`), on
equal luck, with the paper's K. Two truths:

    many rollouts   the same labels made of all 512 rollouts of each state: what the labels of
                    this rule estimate. `error` and `1st error` are against it.
    the checker     the world's exact first error. Precision, recall and F1 of "this step is
                    wrong" are against it, every step from the first error on being wrong; ratio
                    labels are not made for that reading, so compare within a rule.

The chain of `two_round`, `adaptive` and posteriors is fitted to other solutions (`pilot`), whose
rollouts are not in the figures. `error` within a rule is the mean of the seeds, +- half their
range.

    python -m benchmarks.labels [RUN] [--store URL] [--solutions 500] [--out FOLDER]
"""

from __future__ import annotations

import argparse
import asyncio
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path as File

import numpy as np
import torch

from actors.engines.contract import EngineSettings
from actors.models.identity import model_identity
from actors.sandbox.contract import Limits
from benchmarks.label_methods import METHODS, Method
from benchmarks.label_report import HEAD, Row, averaged, draw, keep, line
from benchmarks.rollout_bank import Bank, BankEngine, Drawer
from demo import check, world
from storage.objects.opening import open_store
from storage.rows.kinds import LABELS, PATHS, PROBLEMS, RATIONALES, ROLLOUTS, ShardRows
from storage.rows.records import Path, PathLabels, Problem, Rationale, StateRollouts, standing
from storage.runs.layout import DEFAULT_STORE
from storage.runs.run import Run
from workflows.answers import read_answer
from workflows.answers.grading import grader
from workflows.estimation.chain_fit import fit
from workflows.estimation.posterior import Chain, Observed
from workflows.estimation.smoothed import counted
from workflows.formats.solving import opened_chat
from workflows.formats.steps import openings
from workflows.labels.rule import first_error
from workflows.labels.scores import Scores, difference
from workflows.labels.values import labelled_steps, step_values
from workflows.runs.reading import store_url
from workflows.settings import AnswerSettings, ConsensusSettings, SampleSettings, StageSettings
from workflows.stages.consensus import ConsensusStage
from workflows.stages.estimate import ESTIMATE, Completer
from workflows.stages.kit import Kit
from workflows.stages.label import LabelStage

TEMPERATURE = 0.7
MOST_TOKENS = 256
SYSTEM = SampleSettings().system
answer_of = lru_cache(maxsize=None)(read_answer)
"""The bank's texts come again and again."""
Group = tuple[Problem, list[Path], list[Rationale]]
"""A problem with its paths and their verifications."""


@dataclass(frozen=True, slots=True)
class Laboratory:
    """Solutions, their verifications, and the bank."""

    measured: ShardRows
    pilot: ShardRows
    bank: Bank
    truth: Mapping[str, int | None]
    """path_id -> first error by the checker."""

    @property
    def selected(self) -> list[Path]:
        """The measured solutions."""
        return [path for path in self.measured[PATHS] if path.selected]

    def shares(self, path: Path, problem: Problem) -> list[float]:
        """MC of states 0..T by all rollouts of the bank; the last by the path's own answer."""
        by_problem = []
        for state in range(len(path.steps)):
            chat = opened_chat(SYSTEM, problem, openings(path.text, path.steps)[state])
            right = sum(
                each.count for each in self.bank.state(chat)
                if each.tokens <= MOST_TOKENS and answer_of(each.text) == problem.answer
            )  # fmt: skip
            by_problem.append(right / self.bank.n)
        return [*by_problem, 1.0 if path.correct else 0.0]


def laboratory(run: Run, bank: Bank, solutions: int, pilot: int) -> Laboratory:
    """The first problems of a run until there are so many solutions, and the next ones as pilot."""
    groups: list[Group] = []
    for shard in range(run.spec.plan.shards):
        paths = run.read_rows(PATHS, shard)
        written = standing(run.read_rows(RATIONALES, shard))
        for problem in run.read_rows(PROBLEMS, shard):
            name = problem.problem_id
            mine = [path for path in paths if path.problem_id == name]
            groups.append((problem, mine, [row for row in written if row.problem_id == name]))
    cut = _enough(groups, 0, solutions)
    end = _enough(groups, cut, pilot)
    truth = {
        path.path_id: check.first_error(world.problem(problem.problem_id), path.steps)
        for problem, paths, _ in groups
        for path in paths
        if path.selected
    }
    return Laboratory(_rows(groups[:cut]), _rows(groups[cut:end]), bank, truth)


def _enough(groups: Sequence[Group], start: int, solutions: int) -> int:
    """Where the problems end that have so many selected paths from `start` on."""
    taken = 0
    for place in range(start, len(groups)):
        if taken >= solutions:
            return place
        taken += sum(path.selected for path in groups[place][1])
    return len(groups)


def _rows(groups: Sequence[Group]) -> ShardRows:
    return ShardRows(
        {
            PROBLEMS: tuple(problem for problem, _, _ in groups),
            PATHS: tuple(path for _, paths, _ in groups for path in paths),
            RATIONALES: tuple(row for _, _, written in groups for row in written),
        }
    )


class Bench:
    """Runs methods in a laboratory."""

    def __init__(self, lab: Laboratory) -> None:
        self.lab = lab
        self._engine = BankEngine(lab.bank, MOST_TOKENS)
        self._grader = grader(AnswerSettings())
        problems = {problem.problem_id: problem for problem in lab.measured[PROBLEMS]}
        self._shares = {
            path.path_id: lab.shares(path, problems[path.problem_id]) for path in lab.selected
        }

    async def rolled(
        self, method: Method, rows: ShardRows, seed: int, chain: Chain | None
    ) -> tuple[tuple[StateRollouts, ...], dict[str, int], Counter[str]]:
        """Rollouts of a method, its counts and drops."""
        estimate = replace(method.estimate, temperature=TEMPERATURE, max_tokens=MOST_TOKENS)
        settings = StageSettings(
            seed=seed,
            estimate=estimate,
            label=method.label,
        )
        kit = Kit(
            "run", settings, ESTIMATE.spec, {ESTIMATE.role: "bank"}, Limits(), chain,
            self._engine, graded_by=self._grader,
        )  # fmt: skip
        result = await Completer(kit).run(rows)
        return result.rows, result.counts, Counter(drop.reason for drop in result.drops)

    async def chain(self) -> Chain:
        """Fitted to the pilot's solutions, rolled out in every state."""
        rollouts, _, _ = await self.rolled(METHODS[0], self.lab.pilot, 10**6, None)
        of = {path.path_id: path for path in self.lab.pilot[PATHS]}
        by_path: dict[str, list[StateRollouts]] = {}
        for row in rollouts:
            by_path.setdefault(row.path_id, []).append(row)
        seen = [(len(of[name].steps), of[name].correct, dict(counted(rows)))
                for name, rows in by_path.items()]  # fmt: skip
        return fit(Observed.of([each for each in seen if len(each[2]) == each[0]][:300]))

    async def labels(
        self, method: Method, seed: int, chain: Chain | None
    ) -> tuple[dict[str, PathLabels], dict[str, int], Counter[str]]:
        """path_id -> labels, what they cost, and drops by reason."""
        seed = seed if method.same_luck else seed + 1_000
        rows, counts, drops = await self.rolled(method, self.lab.measured, seed, chain)
        result = await LabelStage(method.label, chain).run(self.lab.measured.but({ROLLOUTS: rows}))
        drops.update(drop.reason for drop in result.drops)
        return {row.path_id: row for row in result.rows}, counts, drops

    async def kept(
        self, labels: Mapping[str, PathLabels], rule: str
    ) -> tuple[set[str], Counter[str]]:
        """What consensus with the run's stored verifications keeps."""
        settings = ConsensusSettings(rule=rule)  # type: ignore[arg-type]
        written = tuple(row for row in self.lab.measured[RATIONALES] if row.path_id in labels)
        agreed = await ConsensusStage(settings).run(
            self.lab.measured.but({LABELS: labels.values(), RATIONALES: written})
        )
        reasons = Counter(drop.reason for drop in agreed.drops)
        return {row.path_id for row in agreed.rows if row.kept}, reasons

    def true_labels(self, method: Method, path: Path) -> list[bool]:
        """The labels of the method's rule by all rollouts."""
        if method.estimate.paths == "wrong" and path.correct:
            return [True] * len(path.steps)
        values = step_values(self._shares[path.path_id], replace(method.label, estimate="counts"))
        return values.labels[: labelled_steps(values.mc, method.label)]

    async def measure(self, seeds: int) -> list[Row]:
        """All methods, one after the other."""
        chain = await self.chain()
        rows: list[Row] = []
        firsts: dict[tuple[str, int], dict[str, PathLabels]] = {}
        whole = 0.0
        for method in METHODS:
            results = []
            for seed in range(seeds):
                needs = chain if method.label.estimate == "posterior" else None
                labels, counts, drops = await self.labels(method, seed, needs)
                first = firsts.setdefault((method.rule, seed), labels)
                results.append(await self._row(method, labels, first, counts, drops))
            row = averaged(results)
            whole = whole or row.rollouts
            rows.append(replace(row, saved=round(1 - row.rollouts / whole, 4)))
            print(line(rows[-1]), flush=True)
        await self._grader.close()
        return rows

    async def _row(
        self, method: Method, labels: Mapping[str, PathLabels], first: Mapping[str, PathLabels],
        counts: Mapping[str, int], drops: Counter[str],
    ) -> Row:  # fmt: skip
        rule, checker, kept_scores = Scores(), Scores(), Scores()
        kept, reasons = await self.kept(labels, "first_error")
        strict, _ = await self.kept(labels, "all_steps")
        for path in self.lab.selected:
            if path.path_id not in labels:
                continue
            given = labels[path.path_id].labels
            true = self.true_labels(method, path)
            both = min(len(given), len(true))
            rule.add_labels(given[:both], true[:both])
            rule.first += (first_error(given) == first_error(true)) - (
                first_error(given[:both]) == first_error(true[:both])
            )
            truth = self.lab.truth[path.path_id]
            checker.add(given, truth)
            if path.path_id in kept:
                kept_scores.add(given, truth)
        size = len(self.lab.selected)
        drops.update({f"consensus: {reason}": n for reason, n in reasons.items()})
        differs = difference(
            {name: row.labels for name, row in labels.items()},
            {name: row.labels for name, row in first.items()},
        )
        return Row(
            method.name, method.rule, counts["rollouts"] / size, counts["tokens"] / size, 0.0,
            len(labels), rule.error, 0.0, rule.first_accuracy, differs.error, checker.precision,
            checker.recall, checker.f1, checker.first_accuracy, len(kept) / max(1, len(labels)),
            kept_scores.f1, kept_scores.first_accuracy, len(strict) / max(1, len(labels)),
            dict(drops),
        )  # fmt: skip


def main() -> None:
    """Measure, print, and write the table and the plot."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run", nargs="?", default="demo")
    parser.add_argument("--store", default=DEFAULT_STORE)
    parser.add_argument("--solutions", type=int, default=500)
    parser.add_argument("--pilot", type=int, default=300, help="solutions of the pilot")
    parser.add_argument("--rollouts", type=int, default=512, help="per state of the bank")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--model", type=File, default=File("demo/models/completer"))
    parser.add_argument("--out", type=File, help="folder for labels.json and labels.png")
    chosen = parser.parse_args()
    torch.set_num_threads(1)  # the matrices are too small to share
    started = time.process_time()
    identity = model_identity(EngineSettings(model=str(chosen.model)))
    file = File(f".stepmill/rollouts/{identity}-{chosen.rollouts}.json.gz")
    bank = Bank(file, Drawer(chosen.model, TEMPERATURE, MOST_TOKENS, 0), chosen.rollouts)
    run = Run.open(open_store(store_url(chosen.store)), chosen.run)
    lab = laboratory(run, bank, chosen.solutions, chosen.pilot)
    for rows in (lab.measured, lab.pilot):
        of = {problem.problem_id: problem for problem in rows[PROBLEMS]}
        bank.fill(opened_chat(SYSTEM, of[path.problem_id], openings(path.text, path.steps)[state])
                  for path in rows[PATHS] if path.selected
                  for state in range(len(path.steps)))  # fmt: skip
    pilot = sum(path.selected for path in lab.pilot[PATHS])
    steps = np.mean([len(path.steps) for path in lab.selected])
    print(f"{len(lab.selected)} solutions of run {run.name}, {steps:.1f} steps each; pilot of "
          f"{pilot}; completer {identity}; {chosen.seeds} seeds\n{HEAD}")  # fmt: skip
    measured = asyncio.run(Bench(lab).measure(chosen.seeds))
    if chosen.out:
        keep(measured, draw, chosen.out, "labels")
    print(f"{time.process_time() - started:.0f} CPU seconds")


if __name__ == "__main__":
    main()
