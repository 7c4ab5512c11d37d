"""What rollouts that are cut should count as, in simulated worlds whose wrong rollouts are longer.

Solutions and their true success probabilities are those of `benchmarks.label_worlds`. A rollout is
right with the probability of its state. A right one is cut with probability `right` at the bare
problem, a wrong one with `wrong`; both fall in proportion to the steps that are left. The last
number of a cut rollout is the answer in half of those that would have been right. Each state gets
64 rollouts; `error` is the share of ratio labels that are not the oracle's, `1st` the share of
solutions whose first wrong step is. What a reading can't label (no right rollout at the start, or a
state of which all are cut) is dropped.

    python -m benchmarks.cut_worlds [--problems 100] [--seeds 5]
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator, Sequence
from statistics import mean

import numpy as np

from benchmarks.label_worlds import WORLDS, Solutions, World, draw, first_wrong, ratio_labels
from workflows.estimation.posterior import Floats

K = 64
READ = 0.5
"""Chance that the last number of a cut rollout that would be right is the answer."""
CASES = ((0.0, 0.0), (0.1, 0.1), (0.1, 0.3), (0.1, 0.6), (0.3, 0.3), (0.3, 0.6), (0.3, 0.9))
"""(right, wrong): chances of being cut at the bare problem."""
CUTS = ("wrong", "last_number", "censored")
Figures = tuple[float, float, float]
"""(labelled, error, first errors)."""


def readings(
    found: Solutions, right: float, wrong: float, rng: np.random.Generator
) -> Iterator[tuple[str, Floats]]:
    """Each reading and its (B, S) MC values; NaN where no rollout counts."""
    left = 1 - np.arange(found.q.shape[1]) / found.steps[:, None]
    left = np.clip(left, 0, 1)
    good = rng.binomial(K, found.q)
    cut_good = rng.binomial(good, right * left)
    cut_bad = rng.binomial(K - good, wrong * left)
    ended = good - cut_good
    yield "wrong", ended / K
    yield "last_number", (ended + rng.binomial(cut_good, READ)) / K
    counted = K - cut_good - cut_bad
    yield "censored", np.divide(ended, counted, out=np.full(left.shape, np.nan), where=counted > 0)


def figures(found: Solutions, mc: Floats) -> Figures:
    """What labels from MC values are worth."""
    kept = (mc[:, 0] > 0) & ~(np.isnan(mc) & found.within).any(axis=1)
    those = found.of(kept)
    labels, truth = ratio_labels(np.nan_to_num(mc[kept]), those), ratio_labels(those.q, those)
    wrong = float((labels != truth)[those.within].mean())
    return float(kept.mean()), wrong, float((first_wrong(labels) == first_wrong(truth)).mean())


def measured(world: World, problems: int, seeds: int) -> Iterator[str]:
    """A line per case and reading."""
    drawn = [draw(world, problems, np.random.default_rng(seed)) for seed in range(seeds)]
    for right, wrong in CASES:
        of: dict[str, list[Figures]] = {cut: [] for cut in CUTS}
        for seed, found in enumerate(drawn):
            for cut, mc in readings(found, right, wrong, np.random.default_rng(1000 + seed)):
                of[cut].append(figures(found, mc))
        for cut, rows in of.items():
            yield f"| {world.name} | {right:.0%}, {wrong:.0%} | {cut} | {shown(rows)} |"


def shown(rows: Sequence[Figures]) -> str:
    """Means of the seeds in percent, and half their range."""
    return " | ".join(
        f"{100 * mean(each):.1f} ± {50 * (max(each) - min(each)):.1f}"
        for each in zip(*rows, strict=True)
    )


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--problems", type=int, default=100, help="eight solutions each")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--worlds", nargs="+", default=["math", "hard", "smooth"])
    chosen = parser.parse_args()
    started = time.process_time()
    print("| world | cut: right, wrong | reading | labelled | error | 1st |\n" + "|---" * 6 + "|")
    for world in WORLDS:
        if world.name in chosen.worlds:
            for line in measured(world, chosen.problems, chosen.seeds):
                print(line, flush=True)
    print(f"\n{time.process_time() - started:.0f} CPU seconds")


if __name__ == "__main__":
    main()
