"""Labels of word problems' solutions against what exact arithmetic proves of their steps.

A run stores its rollouts once. Each strategy that labels by Monte Carlo then runs with the
product's stages (`Completer`, `LabelStage`) on rollouts that are dealt from these, each once, in an
order that the seed draws. A chain is fitted to the other half of the problems.

Invariant: a solution of which no rollout from the bare problem is right is in no figure, and so is
a step of which nothing is proved.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from actors.engines.contract import Chat, Completion, Reply, Sampling
from actors.grading.pool import Grader
from actors.sandbox.contract import Limits
from benchmarks.label_methods import Method, known
from benchmarks.rollout_bank import key_of
from benchmarks.word_checker import Proved, Verdict
from storage.rows.kinds import PATHS, PROBLEMS, ROLLOUTS, ShardRows
from storage.rows.records import Path, PathLabels, Problem, StateRollouts
from workflows.estimation.chain_fit import fit
from workflows.estimation.posterior import Chain, Observed
from workflows.estimation.smoothed import counted
from workflows.formats.solving import opened_chat
from workflows.formats.steps import openings
from workflows.settings import SampleSettings, StageSettings
from workflows.stages.estimate import ESTIMATE, Completer
from workflows.stages.kit import Kit
from workflows.stages.label import LabelStage

K = 16
"""Rollouts of each state that a run stores."""


def sixteen(name: str, method: str) -> Method:
    """A method of the label laboratory with K = 16."""
    found = called(name, method)
    k = {name: K for name in ("k_hard", "k_medium", "k_easy", "probe")}
    return replace(found, estimate=replace(found.estimate, **k))


def called(name: str, method: str) -> Method:
    """A method of the label laboratory under the name of its strategy."""
    return replace(known(method), name=name)


STRATEGIES: Sequence[Method] = (
    sixteen("genprm's labels", "exact"),
    sixteen("the same, posterior", "exact_zero_stop, posterior"),
    sixteen("adaptive", "adaptive"),
    called("math_shepherd_hard", "math_shepherd_hard, K = 8"),
    called("math_shepherd_soft", "math_shepherd_soft, K = 8"),
    called("omegaprm_binary", "omegaprm_binary, K = 8"),
    called("scan", "scan, K = 8"),
    called("pav", "pav, best of 4, K = 16"),
)
"""`genprm`'s ratio with K = 16 in the place of 128, 64 and 32, the others with their own K."""


class Dealt:
    """An engine whose rollouts are stored ones."""

    def __init__(self, rows: ShardRows, seed: int) -> None:
        problems = {problem.problem_id: problem for problem in rows[PROBLEMS]}
        self._ends: dict[str, list[str | None]] = {}
        self._dealt: Counter[str] = Counter()
        for path, rolled in with_rollouts(rows):
            states = openings(path.text, path.steps)
            mine: dict[str, list[str | None]] = {}
            for row in rolled:
                key = key_of(_chat(problems[path.problem_id], states[row.state]))
                ends = [each.answer for each in row.answers for _ in range(each.count)]
                mine.setdefault(key, []).extend(ends)
            self._ends |= {key: ends for key, ends in mine.items() if key not in self._ends}
        for key, ends in self._ends.items():
            random.Random(f"{seed}/{key}").shuffle(ends)

    async def generate(self, chat: Chat, sampling: Sampling) -> Reply:
        """The next rollouts of a state; from the first again where all were dealt."""
        key = key_of(chat)
        ends, start = self._ends[key], self._dealt[key]
        self._dealt[key] += sampling.n
        taken = [ends[at % len(ends)] for at in range(start, start + sampling.n)]
        texts = ["" if answer is None else f"\\boxed{{{answer}}}" for answer in taken]
        return Reply(tuple(Completion(text, "stop", None, 1) for text in texts), 0)

    async def close(self) -> None:
        """Nothing to release."""


def _chat(problem: Problem, opening: str) -> Chat:
    return opened_chat(SampleSettings().system, problem, opening)


def with_rollouts(rows: ShardRows) -> list[tuple[Path, list[StateRollouts]]]:
    """Every selected path with its rollouts."""
    of: dict[str, list[StateRollouts]] = {}
    for row in rows[ROLLOUTS]:
        of.setdefault(row.path_id, []).append(row)
    return [(path, of.get(path.path_id, [])) for path in rows[PATHS] if path.selected]


def chain_of(rows: ShardRows) -> Chain:
    """The chain of the solutions whose states were all rolled out."""
    seen = [(len(path.steps), path.correct, dict(counted(rolled)))
            for path, rolled in with_rollouts(rows)]  # fmt: skip
    return fit(Observed.of([each for each in seen if len(each[2]) == each[0]]))


def halves(rows: ShardRows) -> tuple[ShardRows, ShardRows]:
    """The rows of every second problem, and the others."""
    names = [problem.problem_id for problem in rows[PROBLEMS]]

    def of(chosen: Iterable[str]) -> ShardRows:
        these = set(chosen)
        kinds = (PROBLEMS, PATHS, ROLLOUTS)
        return ShardRows({kind: [row for row in rows[kind] if row.problem_id in these]
                          for kind in kinds})  # fmt: skip

    return of(names[::2]), of(names[1::2])


async def labelled(
    method: Method, rows: ShardRows, seed: int, grader: Grader
) -> dict[str, PathLabels]:
    """path_id -> the labels of a strategy. A path without a right rollout at its start has none."""
    found: dict[str, PathLabels] = {}
    parts = halves(rows)
    for part, other in (parts, parts[::-1]):
        if not with_rollouts(part):
            continue
        needs = chain_of(other) if method.label.estimate == "posterior" else None
        settings = StageSettings(seed=seed, estimate=method.estimate, label=method.label)
        kit = Kit(
            "run", settings, ESTIMATE.spec, {ESTIMATE.role: "stored"}, Limits(), needs,
            Dealt(part, seed), graded_by=grader,
        )  # fmt: skip
        rolled = await Completer(kit).run(part)
        result = await LabelStage(method.label, needs).run(part.but({ROLLOUTS: rolled.rows}))
        found |= {row.path_id: row for row in result.rows}
    return found


@dataclass(slots=True)
class Figures:
    """What became of steps of which something is proved."""

    paths: set[str] = field(default_factory=set)
    """Labelled ones, of any seed."""
    first: Counter[bool] = field(default_factory=Counter)
    """Whether the first false step of a solution is called wrong -> how often."""
    false: Counter[bool] = field(default_factory=Counter)
    """The same of every false step."""
    right: Counter[bool] = field(default_factory=Counter)
    """Whether a step proved right, no false one before it, is called wrong -> how often."""
    inner: Counter[bool] = field(default_factory=Counter)
    """The same without last steps, which the answer labels and no rollout."""

    def add(self, path_id: str, labels: Sequence[bool], verdicts: Sequence[Verdict]) -> None:
        """Count a solution's labels, which may be fewer than its steps."""
        self.paths.add(path_id)
        proved = [verdict.proved for verdict in verdicts]
        first = proved.index(Proved.FALSE) if Proved.FALSE in proved else len(proved)
        for at, label in enumerate(labels):
            if proved[at] is Proved.FALSE:
                self.false[not label] += 1
                self.first[not label] += at == first
            elif proved[at] is Proved.RIGHT and at < first:
                self.right[not label] += 1
                self.inner[not label] += at < len(proved) - 1


async def measured(
    rows: ShardRows, proved: Mapping[str, Sequence[Verdict]], seeds: int, grader: Grader
) -> dict[str, Figures]:
    """Strategy -> its figures, all seeds together."""
    found = {}
    for method in STRATEGIES:
        found[method.name] = Figures()
        for seed in range(seeds):
            for name, row in (await labelled(method, rows, seed, grader)).items():
                found[method.name].add(name, row.labels, proved[name])
    return found


def share(counts: Counter[bool], seeds: int) -> str:
    """The share of True, and of how many steps, mean over seeds."""
    total = counts.total()
    return f"{counts[True] / total:.2f} of {total / seeds:.0f}" if total else "none there"
