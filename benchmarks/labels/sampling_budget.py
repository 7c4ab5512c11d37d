"""Quota filled by the sampling budget against a uniform one, at equal samples and tokens.

Two worlds. `beta`: problems with success rates drawn from Beta laws, samples as coin flips.
`demo`: the stored paths of a finished demo run, drawn again with replacement, with their texts and
tokens, also those of dropped problems. The rules are the product's
(`workflows.sampling.quota.QuotaRule`, `allocation`), on shards of the same problems:

    blind     rounds until both quotas are full, at most `cap` samples per problem
    knapsack  as many samples in all as blind took, given where they fill most quota
    uniform   as many tokens as knapsack took, one sample of each problem after the other

Then the cost and gain of growing rounds (`sample.growth`) up to the paper's cap of 2048. Success
rates are spread as on MATH (`benchmarks.paper_world`); a problem's rounds follow each other.

    python -m benchmarks.sampling_budget [RUN] [--store URL] [--cap 64]
"""

from __future__ import annotations

import argparse
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from benchmarks import paper_world
from storage.errors import NothingFound
from storage.objects.opening import open_store
from storage.rows.kinds import PATHS, PROBLEMS
from storage.rows.records import Path
from storage.runs.layout import DEFAULT_STORE
from storage.runs.run import Run
from workflows.runs.reading import store_url
from workflows.sampling.quota import QuotaRule, allocation, tally
from workflows.settings import SampleSettings

Draw = Callable[[int, random.Random], Path]
"""(index of the sample, randomness) -> one more path of a problem."""


@dataclass(frozen=True, slots=True)
class Filled:
    """What one rule made of the problems."""

    samples: int
    tokens: int
    quota: int
    """Wanted paths that were found: at most `correct` right and `incorrect` wrong ones each."""
    usable: int
    """Problems with both a right and a wrong path."""


def filled(drawn: Sequence[Sequence[Path]], wanted: SampleSettings) -> Filled:
    """Count what was found."""
    tallies = [tally(paths) for paths in drawn]
    return Filled(
        sum(map(len, drawn)),
        sum(path.tokens for paths in drawn for path in paths),
        sum(min(t.right, wanted.correct) + min(t.wrong, wanted.incorrect) for t in tallies),
        sum(t.right > 0 and t.wrong > 0 for t in tallies),
    )


def blind(problems: Sequence[Draw], wanted: SampleSettings, rng: random.Random) -> list[list[Path]]:
    """Each problem on its own."""
    rule = QuotaRule(wanted)
    return [alone(draw, rule, rng)[0] for draw in problems]


def alone(draw: Draw, rule: QuotaRule, rng: random.Random) -> tuple[list[Path], int]:
    """The paths of one problem, and the rounds that they took."""
    paths: list[Path] = []
    rounds = 0
    while size := rule.next_round(paths):
        paths += [draw(len(paths) + i, rng) for i in range(size)]
        rounds += 1
    return paths, rounds


def knapsack(
    problems: Sequence[Draw], wanted: SampleSettings, shard: int, rng: random.Random
) -> list[list[Path]]:
    """Shard by shard, `per_problem` samples each."""
    allocate = allocation(replace(wanted, budget="knapsack"))
    assert allocate is not None
    drawn: list[list[Path]] = []
    for start in range(0, len(problems), shard):
        here = problems[start : start + shard]
        paths: list[list[Path]] = [[] for _ in here]
        while any(sizes := allocate(paths)):
            for number, size in enumerate(sizes):
                paths[number] += [here[number](len(paths[number]) + i, rng) for i in range(size)]
        drawn += paths
    return drawn


def uniform(problems: Sequence[Draw], tokens: int, rng: random.Random) -> list[list[Path]]:
    """One sample of each problem after the other, until so many tokens are spent."""
    drawn: list[list[Path]] = [[] for _ in problems]
    spent = index = 0
    while spent < tokens:
        number = index % len(problems)
        drawn[number].append(problems[number](len(drawn[number]), rng))
        spent += drawn[number][-1].tokens
        index += 1
    return drawn


def beta_world(count: int, rng: random.Random) -> list[Draw]:
    """Problems of which most are nearly always, or nearly never, solved."""
    return [_flip(rng.betavariate(0.4, 0.4)) for _ in range(count)]


def _flip(rate: float) -> Draw:
    def draw(index: int, rng: random.Random) -> Path:
        right = rng.random() < rate
        return Path(
            f"p#{index}", "p", index, int(index >= 32), "", ["a", "b"], "stop", "1", right, True,
            None, None, False, 100, 0,
        )  # fmt: skip

    return draw


def demo_world(run: Run) -> list[Draw]:
    """The problems of a run, each with the paths that the policy wrote for it."""
    worlds = []
    for shard in range(run.spec.plan.shards):
        by_problem: dict[str, list[Path]] = {}
        for path in run.read_rows(PATHS, shard):
            by_problem.setdefault(path.problem_id, []).append(path)
        for problem in run.read_rows(PROBLEMS, shard):
            if problem.problem_id in by_problem:
                worlds.append(_again(by_problem[problem.problem_id]))
    return worlds


def _again(paths: Sequence[Path]) -> Draw:
    # A text that is drawn again counts as another one: how many texts a policy could still write
    # is not known from those that it wrote.
    def draw(index: int, rng: random.Random) -> Path:
        return replace(rng.choice(paths), index=index, duplicate_of=None, round=int(index >= 32))

    return draw


def show(name: str, problems: Sequence[Draw], wanted: SampleSettings, shard: int) -> None:
    """Three rules on one world, means of ten draws."""
    sums: dict[str, list[Filled]] = {"blind": [], "knapsack": [], "uniform": []}
    for seed in range(10):
        each = filled(blind(problems, wanted, random.Random(seed)), wanted)
        share = replace(wanted, cap=2048, per_problem=round(each.samples / len(problems)))
        together = filled(knapsack(problems, share, shard, random.Random(seed)), wanted)
        sums["blind"].append(each)
        sums["knapsack"].append(together)
        even = uniform(problems, together.tokens, random.Random(seed))
        sums["uniform"].append(filled(even, wanted))
    most = len(problems) * (wanted.correct + wanted.incorrect)
    for rule, totals in sums.items():
        samples, tokens, quota, both = (
            sum(getattr(each, field) for each in totals) / len(totals)
            for field in ("samples", "tokens", "quota", "usable")
        )
        print(f"{name:6}{rule:10}{samples:10,.0f}{tokens:12,.0f}{quota / most:9.1%}"
              f"{1000 * quota / tokens:12.2f}{both:9.1f} of {len(problems)}")  # fmt: skip


def show_rounds(count: int) -> None:
    """Samples and rounds of a problem under several growths."""
    problems = [_flip(paper_world.right_of(f"problem {number}")) for number in range(count)]
    print(f"{'growth':>6}{'samples a problem':>20}{'rounds a problem':>19}{'most':>6}")
    for growth in (0.0, 0.125, 0.25, 0.5, 1.0):
        rule = QuotaRule(SampleSettings(growth=growth))
        drawn: list[tuple[int, int]] = []
        for number, draw in enumerate(problems):
            # the same samples whatever the rounds
            paths, rounds = alone(draw, rule, random.Random(number))
            drawn.append((len(paths), rounds))
        samples, mean = (sum(each) / count for each in zip(*drawn, strict=True))
        most = max(rounds for _, rounds in drawn)
        print(f"{growth:6}{samples:20.1f}{mean:19.1f}{most:6}")


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run", nargs="?", default="demo")
    parser.add_argument("--store", default=DEFAULT_STORE)
    parser.add_argument("--cap", type=int, default=64, help="samples per problem under blind")
    parser.add_argument("--shard", type=int, default=24)
    parser.add_argument("--rounds", type=int, default=1000, help="problems of the last table")
    chosen = parser.parse_args()
    settings = SampleSettings(cap=chosen.cap)
    print(f"{'world':6}{'rule':10}{'samples':>10}{'tokens':>12}{'quota':>9}{'per 1k tok':>12}"
          "   both classes")  # fmt: skip
    show("beta", beta_world(240, random.Random(0)), settings, chosen.shard)
    try:
        run = Run.open(open_store(store_url(chosen.store)), chosen.run)
        show("demo", demo_world(run), settings, chosen.shard)
    except NothingFound:
        print(f"no run {chosen.run} in {chosen.store}: `make demo` makes one")
    show_rounds(chosen.rounds)


if __name__ == "__main__":
    main()
