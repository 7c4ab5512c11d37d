"""Every strategy that labels steps, at equal cost, where the truth of a step is known.

Problems are the demo world's, solutions the demo policy's, labels those of the product's stages
(`Completer`, `LabelStage`, `Judge`, `ConsensusStage`). Models answer out of banks
(`benchmarks.rollout_bank`): 512 rollouts of each state, 8 verifications of each solution and seat,
drawn once and handed out by seed. Cost is tokens times the parameters of the model that wrote them.

    F1, 1st     labels against the world's exact checker: steps called wrong, first errors
    differs     labels that are not those of the same rule with all 512 rollouts
    kept        share of all solutions that consensus keeps; its F1 and first errors follow
    ece, rms    soft labels: gap between value and share of right steps (ten bins, weighted), and
                root mean square of value - MC by all 512 rollouts

Under `limit` budget and labels know the chain that all 512 rollouts of every state show. Strategies
whose texts follow from other texts (trees, rationales with code, meta-critiques), whose problems
are others or whose errors are chosen: `benchmarks.equal_cost_built`.

    python -m benchmarks.equal_cost [--problems 20] [--seeds 5] [--out FOLDER] [--built FILE]
"""

from __future__ import annotations

import argparse
import asyncio
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path as File

import numpy as np
import torch
from safetensors import safe_open

from actors.sandbox.contract import Limits
from benchmarks.equal_cost_table import NAMES, Figures, Line, draw, lines_of, over_seeds, shown
from benchmarks.label_methods import ADAPTIVE, BELIEVED, EXACT, Method, known, scaled
from benchmarks.label_report import keep
from benchmarks.labels import MOST_TOKENS, SYSTEM, TEMPERATURE, Bench, Laboratory
from benchmarks.rollout_bank import Bank, BankEngine, Drawer
from demo import check, world
from storage.rows.kinds import JUDGEMENTS, LABELS, PATHS, PROBLEMS, ShardRows
from storage.rows.records import Agreement, Judgement, Path, PathLabels, Problem
from workflows.answers.grading import grader
from workflows.estimation.chain_fit import fit
from workflows.estimation.posterior import Chain, Observed
from workflows.formats.solving import opened_chat, policy_chat
from workflows.formats.steps import openings
from workflows.judging.seats import Seat
from workflows.labels.scores import Scores
from workflows.settings import (
    AnswerSettings,
    ConsensusSettings,
    JudgeSettings,
    SampleSettings,
    StageSettings,
)
from workflows.stages.consensus import ConsensusStage
from workflows.stages.judge import JUDGE, Judge
from workflows.stages.kit import Kit
from workflows.stages.sample import SAMPLE, PolicySampler

MODELS = File("demo/models")
VERIFICATIONS = 8
"""Of each solution and seat in the bank."""
MOST_WORDS = 700
SAMPLES = 256
"""Of each problem in the policy's bank."""
CRITIC = JudgeSettings(max_tokens=MOST_WORDS)
LABELLED = ConsensusSettings(sources=("labels",), rule="none")
BOTH = ConsensusSettings(sources=("labels", "judge"), rule="first_error", cut="first_error")
JUDGED = ConsensusSettings(sources=("judge",))


@dataclass(frozen=True, slots=True)
class Strategy:
    """One strategy at one size."""

    name: str
    size: str
    method: Method | None = None
    judge: JudgeSettings | None = None
    consensus: ConsensusSettings = LABELLED
    knows: bool = False
    """Whether its chain is that of all 512 rollouts."""


def sized(
    name: str, method: Method, sizes: Sequence[float], consensus: ConsensusSettings = LABELLED
) -> list[Strategy]:
    """A method with several K, as shares of its own."""
    return [
        Strategy(name, f"K x {by:g}", replace(method, estimate=scaled(method.estimate, by)),
                 consensus=consensus)
        for by in sizes
    ]  # fmt: skip


def votes(name: str, judge: JudgeSettings, numbers: Sequence[int]) -> list[Strategy]:
    """A panel with several numbers of verifications of each seat."""
    return [Strategy(name, f"votes {n}", judge=replace(judge, votes=n), consensus=JUDGED)
            for n in numbers]  # fmt: skip


def doubted(name: str, knows: bool) -> list[Strategy]:
    """`adaptive` with several chances of a wrong label."""
    return [
        Strategy(name, f"delta {delta:g}, batch {batch}",
                 Method(name, "ratio", replace(ADAPTIVE, delta=delta, batch=batch), BELIEVED),
                 knows=knows)
        for delta, batch in ((0.05, 8), (0.1, 8), (0.2, 4), (0.3, 4), (0.35, 2))
    ]  # fmt: skip


STRATEGIES: Sequence[Strategy] = (
    *sized("exact", Method("exact", "ratio", EXACT, known("exact").label), (1, 0.5, 0.25, 0.125)),
    *sized("genprm's labels", known("exact_zero_stop (genprm)"), (1, 0.5, 0.25, 0.125)),
    *doubted("adaptive", False),
    *doubted("adaptive: limit", True),
    *sized("math_shepherd_hard", known("math_shepherd_hard, K = 8"), (1, 2, 4)),
    *sized("math_shepherd_soft", known("math_shepherd_soft, K = 8"), (1, 2, 4)),
    *sized("omegaprm_binary", known("omegaprm_binary, K = 8"), (1, 2, 4)),
    *sized("scan", known("scan, K = 8"), (1, 2, 4), replace(LABELLED, balance="verdict")),
    *sized("pav, best of 4", known("pav, best of 4, K = 16"), (1, 2)),
    *votes("spark_single", CRITIC, (1,)),
    *votes("spark_step_vote", replace(CRITIC, aggregator="step_vote"), (3, 5, 9)),
    *votes("spark_outcome_vote", replace(CRITIC, aggregator="outcome_vote"), (3, 5, 9)),
    *votes("aurora", replace(CRITIC, prompts=("critique", "resolve"),
                             sees=("none", "reference_solution"), aggregator="step_vote"), (1, 3)),
    Strategy("spare", "votes 1",
             judge=replace(CRITIC, prompts=("align",), sees=("reference_solution",),
                           ungraded="wrong"),
             consensus=replace(JUDGED, outcome_overwrites_last=True, balance="outcome")),
    Strategy("qwen_consensus", "K = 8, votes 1", known("math_shepherd_hard, K = 8"),
             replace(CRITIC, verdicts="index"), BOTH),
    Strategy("thinkprm, whole paths", "K = 8, votes 4", known("math_shepherd_hard, K = 8"),
             replace(CRITIC, votes=4, aggregator="any"),
             replace(BOTH, rule="all_steps", cut="none", balance="verdict")),
)  # fmt: skip


def parameters(model: str) -> float:
    """Millions of parameters."""
    with safe_open(MODELS / model / "model.safetensors", "pt") as stored:  # type: ignore[no-untyped-call]
        sizes = [np.prod(stored.get_slice(name).get_shape()) for name in stored.keys()]  # noqa: SIM118
    return float(sum(sizes)) / 1e6


def bank_of(folder: File, model: str, temperature: float, most: int, n: int) -> Bank:
    """The bank of one of the demo's models."""
    return Bank(folder / f"{model}-{n}.json.gz", Drawer(MODELS / model, temperature, most, 0), n)


async def drawn(policy: Bank, problems: Iterable[Problem]) -> list[tuple[Problem, list[Path]]]:
    """Problems with the solutions that stage `sample` takes of each."""
    asked = SampleSettings(temperature=TEMPERATURE, max_tokens=MOST_TOKENS, cap=128)
    graded_by = grader(AnswerSettings())
    kit = Kit(
        "run", StageSettings(sample=asked), SAMPLE.spec, {SAMPLE.role: "bank"}, Limits(), None,
        BankEngine(policy, MOST_TOKENS), graded_by=graded_by,
    )  # fmt: skip
    given = tuple(problems)
    sampled = await PolicySampler(kit).run(ShardRows({PROBLEMS: given}))
    await graded_by.close()
    ended = {drop.item for drop in sampled.drops}
    return [
        (problem, [path for path in sampled.rows if path.problem_id == problem.problem_id])
        for problem in given
        if problem.problem_id not in ended
    ]


def rows_of(groups: Sequence[tuple[Problem, list[Path]]]) -> ShardRows:
    """As the stages read them."""
    return ShardRows({PROBLEMS: [problem for problem, _ in groups],
                      PATHS: [path for _, paths in groups for path in paths]})  # fmt: skip


class Table(Bench):
    """Runs strategies in a laboratory."""

    def __init__(self, lab: Laboratory, verifications: Bank) -> None:
        super().__init__(lab)
        self._judge = BankEngine(verifications, MOST_WORDS)
        self._size = {model: parameters(model) for model in ("completer", "judge")}

    def whole_chain(self) -> Chain:
        """The chain that all 512 rollouts of every measured state show."""
        n = self.lab.bank.n
        return fit(Observed.of([
            (len(path.steps), path.correct,
             {state: (n, round(n * share)) for state, share
              in enumerate(self._shares[path.path_id][:-1])})
            for path in self.lab.selected
        ]))  # fmt: skip

    def use(self, engine: BankEngine) -> None:
        """Let another engine complete solutions."""
        self._engine = engine

    async def judged(self, asked: JudgeSettings, seed: int) -> tuple[Judgement, ...]:
        """The verifications of all solutions."""
        settings = StageSettings(seed=seed, judge=asked)
        spec = replace(JUDGE.spec, reads=(PROBLEMS.stage, PATHS.stage))
        kit = Kit("run", settings, spec, {JUDGE.role: "bank"}, Limits(), None, self._judge)
        return (await Judge(kit).run(self.lab.measured)).rows

    async def figures(self, of: Strategy, seed: int, chains: Mapping[bool, Chain]) -> Figures:
        """One strategy by one seed."""
        labels: dict[str, PathLabels] = {}
        cost, judgements, rule = 0.0, tuple[Judgement, ...](), Scores()
        if of.method is not None:
            needs = chains[of.knows] if of.method.label.estimate == "posterior" else None
            labels, counts, _ = await self.labels(of.method, seed, needs)
            cost += counts["tokens"] * self._size["completer"]
            for path in self.lab.selected:
                if path.path_id in labels:
                    given, true = labels[path.path_id].labels, self.true_labels(of.method, path)
                    both = min(len(given), len(true))
                    rule.add_labels(given[:both], true[:both])
        if of.judge is not None:
            judgements = await self.judged(of.judge, seed)
            cost += sum(row.tokens for row in judgements) * self._size["judge"]
        stage = ConsensusStage(of.consensus, of.judge, verified=bool(judgements),
                               labelled=of.method is not None)  # fmt: skip
        rows = {LABELS: labels.values(), JUDGEMENTS: judgements}
        agreed = (await stage.run(self.lab.measured.but(rows))).rows
        kept = {row.path_id: row for row in agreed if row.kept}
        told = {name: row.labels for name, row in labels.items()} or {
            name: row.labels for name, row in kept.items()
        }
        before, after = self._against_truth(told), self._against_truth(
            {name: row.labels for name, row in kept.items()}
        )  # fmt: skip
        size = len(self.lab.selected)
        return Figures(
            cost / size, before.f1, before.first_accuracy,
            rule.error if of.method else float("nan"), len(kept) / size, after.f1,
            after.first_accuracy, *self._calibration(of, labels, kept),
        )  # fmt: skip

    def _against_truth(self, labels: Mapping[str, Sequence[bool]]) -> Scores:
        scores = Scores()
        for name, given in labels.items():
            truth = self.lab.truth[name]
            scores.add(given, None if truth is None or truth >= len(given) else truth)
        return scores

    def _calibration(
        self, of: Strategy, labels: Mapping[str, PathLabels], kept: Mapping[str, Agreement]
    ) -> tuple[float, float]:
        """(gap to the share of right steps, distance to MC by all rollouts) of soft labels."""
        soft = of.method is not None and of.method.label.form == "soft"
        values = {name: row.value for name, row in labels.items()} if soft else {}
        if not values and of.method is None:
            values = {name: row.values for name, row in kept.items()}
        told = [
            (value, self._right(name, step), self._shares[name][step + 1])
            for name, row in values.items()
            for step, value in enumerate(row)
        ]
        if not told or not all(0 <= value <= 1 for value, _, _ in told):
            return float("nan"), float("nan")
        value, right, mc = np.array(told, float).T
        place = np.minimum((10 * value).astype(int), 9)
        gap = sum(abs((value - right)[place == at].sum()) for at in range(10)) / len(value)
        return float(gap), float(np.sqrt(np.mean((value - mc) ** 2))) if soft else float("nan")

    def _right(self, name: str, step: int) -> bool:
        truth = self.lab.truth[name]
        return truth is None or step < truth


async def laboratory(folder: File, problems: int, pilot: int) -> tuple[Laboratory, Bank]:
    """Solutions with their rollouts, and the judge's bank, which is still to fill."""
    policy = bank_of(folder, "policy", TEMPERATURE, MOST_TOKENS, SAMPLES)
    completer = bank_of(folder, "completer", TEMPERATURE, MOST_TOKENS, 512)
    judge = bank_of(folder, "judge", CRITIC.temperature, MOST_WORDS, VERIFICATIONS)
    given = [Problem(**world.row(each) | {"level": str(each.level)})
             for each in world.sample(2 * (problems + pilot), 1, "heldout")]  # fmt: skip
    policy.fill(policy_chat(SYSTEM, problem) for problem in given)
    groups = (await drawn(policy, given))[: problems + pilot]
    of = {problem.problem_id: problem for problem, _ in groups}
    chosen = [path for _, paths in groups for path in paths if path.selected]
    truth = {
        path.path_id: check.first_error(world.problem(path.problem_id), path.steps)
        for path in chosen
    }
    completer.fill(
        opened_chat(SYSTEM, of[path.problem_id], openings(path.text, path.steps)[state])
        for path in chosen
        for state in range(len(path.steps))
    )
    measured, rest = rows_of(groups[:problems]), rows_of(groups[problems:])
    return Laboratory(measured, rest, completer, truth), judge


async def measured(folder: File, problems: int, pilot: int, seeds: int) -> list[Line]:
    """All strategies."""
    lab, judge = await laboratory(folder, problems, pilot)
    seats = {(prompt, sees) for each in STRATEGIES if each.judge
             for prompt in each.judge.prompts for sees in each.judge.sees}  # fmt: skip
    for problem, seat in product(lab.measured[PROBLEMS], sorted(seats)):
        mine = [path for path in lab.selected if path.problem_id == problem.problem_id]
        judge.fill((Seat(*seat).chat(problem, path.steps) for path in mine), together=True)
    table = Table(lab, judge)
    chains = {False: await table.chain(), True: table.whole_chain()}
    print(f"{len(lab.selected)} solutions of {problems} problems; {seeds} seeds\n\n| strategy | "
          "size | " + " | ".join(NAMES) + " |\n" + "|---" * (2 + len(NAMES)) + "|")  # fmt: skip
    lines = []
    for strategy in STRATEGIES:
        found = [await table.figures(strategy, seed, chains) for seed in range(seeds)]
        lines.append(over_seeds(strategy.name, strategy.size, found))
        print(shown(lines[-1]), flush=True)
    return lines


def options(said: str | None) -> argparse.ArgumentParser:
    """What the scripts over these solutions can be told."""
    parser = argparse.ArgumentParser(
        description=said, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--problems", type=int, default=20, help="eight solutions each, at most")
    parser.add_argument("--pilot", type=int, default=15, help="problems of the pilot")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--banks", type=File, default=File(".stepmill/rollouts"))
    return parser


def main() -> None:
    """Measure, print, and write the table and the plot."""
    parser = options(__doc__)
    parser.add_argument("--out", type=File, help="folder for equal_cost.json and equal_cost.png")
    parser.add_argument("--built", type=File, help="equal_cost_built.json, to be drawn too")
    chosen = parser.parse_args()
    torch.set_num_threads(1)  # the matrices are too small to share
    started = time.process_time()
    lines = asyncio.run(measured(chosen.banks, chosen.problems, chosen.pilot, chosen.seeds))
    if chosen.out:
        beside = lines_of(chosen.built) if chosen.built else []
        keep([*lines, *beside], draw, chosen.out, "equal_cost")
    print(f"\n{time.process_time() - started:.0f} CPU seconds")


if __name__ == "__main__":
    main()
