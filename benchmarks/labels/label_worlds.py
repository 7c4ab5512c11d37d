"""Labels for fewer rollouts, where the truth is known: five simulated worlds of solutions.

A problem starts at a success probability q_0. Each step keeps, raises, lowers or kills it. A
solution is right with the probability of its last state. Each problem keeps four right and four
wrong solutions, drawn as stage `sample` draws them. State 0 is rolled out once for all solutions of
a problem; in worlds named `..., shared` each of the first steps is one of three, so that paths
share more than their start, and posteriors read their tree. Labels are ratio labels (>= 0.8). The
oracle computes them from the true probabilities, the others from rollouts. Budgets and posteriors
are the product's (`workflows.estimation.budgets`), asked in turns. The chain is fitted to 300 other
solutions, fully rolled out; the figures leave out the cost of that pilot. `limit` has the same
budget with the chain of the world itself, counted from the true probabilities of other problems.

    math    a mix; 45 % of steps matter, 45 % of those are mistakes, 55 % of mistakes kill
    hard    the same from low starts; easy: the same from high ones
    smooth  many small moves in log-odds, few deaths
    rough   large moves in log-odds at most steps

    python -m benchmarks.label_worlds
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace

import numpy as np

from workflows.estimation.chain_fit import fit
from workflows.estimation.fixed import rollouts_per_state
from workflows.estimation.posterior import (
    DEAD,
    GRID,
    LOGITS,
    Beliefs,
    Chain,
    Flags,
    Floats,
    Integers,
    Observed,
    believe_by_rule,
)
from workflows.estimation.replay import Outcomes, allocated
from workflows.settings import EstimateSettings, LabelSettings

LABELS = LabelSettings()
SETTINGS = EstimateSettings()
PER_CLASS = 4
TRIES = 256
"""Solutions drawn per problem before it is dropped."""
LONGEST = 16
CHOICES = 3
TRUTH = 1_000
"""Problems from whose true probabilities a world's chain is counted."""


@dataclass(frozen=True, slots=True)
class World:
    """How solutions come about."""

    name: str
    start: tuple[float, float]
    """Parameters of the Beta distribution of q_0."""
    matters: float = 0.45
    mistake: float = 0.45
    kills: float = 0.55
    step: float | None = None
    """Standard deviation, in log-odds, of the moves of a world without jumps; None: jumps."""
    common: int = 0
    """First steps of which each is one of `CHOICES`."""


WORLDS = (
    World("math", (2.0, 1.0)),
    World("hard", (1.0, 2.5)),
    World("easy", (5.0, 1.0)),
    World("smooth", (2.0, 1.2), matters=0.9, mistake=0.08, kills=0.5, step=0.35),
    World("rough", (1.5, 1.5), matters=0.7, mistake=0.15, kills=0.6, step=1.3),
    World("math, shared", (2.0, 1.0), common=3),
    World("rough, shared", (1.5, 1.5), matters=0.7, mistake=0.15, kills=0.6, step=1.3, common=3),
)


@dataclass(frozen=True, slots=True, eq=False)
class Solutions:
    """Drawn solutions of one world."""

    q: Floats
    """(B, S) true success probability of states 0..T-1."""
    steps: Integers
    correct: Flags
    problem: Integers
    """(B,) index of the problem; a problem's solutions share q_0 and its rollouts."""
    node: Integers
    """(B, S) a number per state, equal where solutions share it."""

    @property
    def within(self) -> Flags:
        """(B, S): whether step t exists."""
        there: Flags = np.arange(self.q.shape[1]) < self.steps[:, None]
        return there

    def of(self, chosen: Flags) -> Solutions:
        """Some of them."""
        return Solutions(
            self.q[chosen],
            self.steps[chosen],
            self.correct[chosen],
            self.problem[chosen],
            self.node[chosen],
        )

    def shared(self) -> Iterator[tuple[int, Integers, Integers]]:
        """State, the first solution that goes through each node, and the node of each solution."""
        for t in range(self.node.shape[1]):
            _, first, owner = np.unique(self.node[:, t], return_index=True, return_inverse=True)
            yield t, first, owner

    def most(self, n: Integers) -> Integers:
        """(B, S) the most rollouts that any solution asks of a state which it shares."""
        most = np.zeros_like(n)
        for t, first, owner in self.shared():
            of_node = np.zeros(len(first), dtype=n.dtype)
            np.maximum.at(of_node, owner, n[:, t])
            most[:, t] = of_node[owner]
        return most


def moved(world: World, q: Floats, rng: np.random.Generator) -> Floats:
    """Success probabilities one step later."""
    size = q.shape
    matters = rng.random(size) < world.matters
    mistake = rng.random(size) < world.mistake
    kills = rng.random(size) < world.kills
    leaks = rng.random(size) < 0.2
    dead = np.where(leaks, np.minimum(q, rng.uniform(0.01, 0.04, size)), 0.0)
    if world.step is None:
        lowered, raised = q * rng.uniform(0.15, 0.9, size), q + (1 - q) * rng.uniform(0, 0.7, size)
    else:
        alive = np.clip(q, 1e-4, 1 - 1e-4)
        odds = np.log(alive / (1 - alive)) + rng.normal(0, world.step, size)
        lowered = raised = 1 / (1 + np.exp(-odds))
    fallen = np.where(kills, dead, lowered)
    later = np.where(matters, np.where(mistake, fallen, raised), q)
    return np.where(q > 0, np.minimum(later, 0.999), 0.0)


def draw(world: World, problems: int, rng: np.random.Generator) -> Solutions:
    """Four right and four wrong solutions of each problem that has them within its tries."""
    parts: list[tuple[Floats, Integers, Flags, Integers, Integers]] = []
    for problem in range(10 * problems):
        if len(parts) == problems:
            break
        q = np.zeros((TRIES, LONGEST))
        q[:, 0] = np.clip(rng.beta(*world.start), 0.005, 0.995)
        way = np.zeros((TRIES, LONGEST), dtype=np.int64)
        for t in range(1, LONGEST):
            choice = rng.integers(CHOICES, size=TRIES) if t <= world.common else np.arange(TRIES)
            way[:, t] = way[:, t - 1] * TRIES + choice if t <= world.common else choice
            _, first, same = np.unique(way[:, t], return_index=True, return_inverse=True)
            q[:, t] = moved(world, q[first, t - 1], rng)[same]
        steps = np.clip(2 + rng.poisson(4.5, TRIES), 2, LONGEST)
        correct = rng.random(TRIES) < q[np.arange(TRIES), steps - 1]
        if min(correct.sum(), (~correct).sum()) < PER_CLASS:
            continue
        chosen = np.sort(np.r_[np.flatnonzero(correct)[:PER_CLASS],
                               np.flatnonzero(~correct)[:PER_CLASS]])  # fmt: skip
        node = way[chosen] + problem * TRIES ** (world.common + 1)
        parts.append(
            (q[chosen], steps[chosen], correct[chosen], np.full(len(chosen), problem), node)
        )
    return Solutions(*(np.concatenate(column) for column in zip(*parts, strict=True)))


def outcomes(found: Solutions, rng: np.random.Generator) -> Outcomes:
    """Rollouts of every state, of which budgets see those they ask for; K = 128 at most.

    Solutions that share a state share its rollouts.
    """
    hit = rng.random((*found.q.shape, SETTINGS.k_hard)) < found.q[:, :, None]
    for t, first, owner in found.shared():
        hit[:, t] = hit[first[owner], t]
    return Outcomes.of(hit, found.steps, found.correct)


def k_of(made: Outcomes) -> Integers:
    """(B,): K by the probe."""
    probe = SETTINGS.probe
    right = made.right[:, 0, probe].tolist()
    return np.array([rollouts_per_state(c / probe, SETTINGS) for c in right])


def count_labels(found: Solutions, seen: Observed) -> Flags:
    """(B, S): the paper's labels."""
    return ratio_labels(seen.c / np.maximum(seen.n, 1), found)


def ratio_labels(mc: Floats, found: Solutions) -> Flags:
    """(B, S): ratio labels from MC values; True beyond a path's end."""
    rows, last = np.arange(len(found.steps)), found.steps - 1
    alive = np.cumprod(mc > 0, axis=1).astype(bool)
    labels = np.ones(mc.shape, dtype=bool)
    after = mc[:, 1:] * alive[:, 1:]
    labels[:, :-1] = (after >= LABELS.threshold * mc[:, :-1]) & alive[:, 1:]
    labels[rows, last] = found.correct & alive[rows, last]
    labels[~found.within] = True
    return labels


def spent(found: Solutions, n: Integers) -> float:
    """Rollouts per solution; those of a state that several share count once."""
    most = found.most(n * found.within)
    return sum(int(most[first, t].sum()) for t, first, _ in found.shared()) / len(n)


def exact_counts(made: Outcomes, k: Integers) -> Integers:
    """(B, S): K in every state."""
    return np.where(made.within, k[:, None], 0)


def zero_stop(n: Integers, c: Integers) -> Integers:
    """(B, S): none after the first state without a right rollout."""
    stopped = np.cumsum(c == 0, axis=1) - (c == 0) > 0
    return np.where(stopped, 0, n)


@dataclass(frozen=True, slots=True)
class Row:
    """One method in one world."""

    world: str
    method: str
    rollouts: float
    """Per solution."""
    saved: float
    """Share of the rollouts of `exact`."""
    error: float
    """Share of labels that are not the oracle's."""
    differs: float
    """Share of labels that are not those of the exact run."""
    first_error: float
    """Share of solutions whose first error is the oracle's."""


def measure(world: World, problems: int, seed: int, pilot_problems: int = 38) -> list[Row]:
    """All methods in one world."""
    rng = np.random.default_rng(seed)
    drawn = draw(world, problems + pilot_problems, rng)
    is_pilot = drawn.problem >= np.unique(drawn.problem)[problems]
    pilot = outcomes(drawn.of(is_pilot), rng)
    chain = fit(pilot.observed(exact_counts(pilot, k_of(pilot))))
    solutions = drawn.of(~is_pilot)
    rolled = outcomes(solutions, rng)
    started = rolled.first(exact_counts(rolled, k_of(rolled)))[:, 0] > 0
    solutions = solutions.of(started)
    rolled = Outcomes(rolled.right[started], solutions.steps, solutions.correct)
    truth, k = ratio_labels(solutions.q, solutions), k_of(rolled)
    n = exact_counts(rolled, k)
    exact = count_labels(solutions, rolled.observed(n))

    def row(method: str, rollouts: Integers, labels: Flags) -> Row:
        total = spent(solutions, rollouts)
        return Row(
            world.name,
            method,
            round(total, 1),
            round(1 - total / spent(solutions, n), 3),
            round(float((labels != truth)[solutions.within].mean()), 4),
            round(float((labels != exact)[solutions.within].mean()), 4),
            round(float((first_wrong(labels) == first_wrong(truth)).mean()), 4),
        )

    again = outcomes(solutions, rng)
    n_again = exact_counts(again, k_of(again))
    stopped = zero_stop(n, rolled.first(n))
    smoothed = in_trees(chain, solutions, rolled, stopped)
    rows = [
        row("exact", n, exact),
        row("exact, rerun", n_again, count_labels(solutions, again.observed(n_again))),
        row("exact_zero_stop", stopped, count_labels(solutions, rolled.observed(stopped))),
        row("exact_zero_stop, posterior", stopped, smoothed.right(LABELS) >= 0.5),
    ]
    true = true_chain(world, np.random.default_rng(seed + 500))
    for method, settings in BUDGETS:
        best = in_trees(
            true, solutions, rolled, allocated(rolled, k, true, settings, LABELS).seen.n
        )
        beliefs = allocated(rolled, k, chain, settings, LABELS)
        if world.common:
            rows.append(
                row(f"{method}, path by path", beliefs.seen.n, beliefs.right(LABELS) >= 0.5)
            )
        beliefs = in_trees(chain, solutions, rolled, beliefs.seen.n)
        rows.append(row(method, beliefs.seen.n, beliefs.right(LABELS) >= 0.5))
        rows.append(row(f"{method}: limit", best.seen.n, best.right(LABELS) >= 0.5))
    return rows


def true_chain(world: World, rng: np.random.Generator) -> Chain:
    """How success probabilities really start and move along solutions that are kept."""
    found = draw(world, TRUTH, rng)
    alive = np.log(np.maximum(found.q, 1e-9) / (1 - found.q))
    point = 1 + np.abs(alive[:, :, None] - LOGITS).argmin(axis=2)
    point[found.q < GRID[1] / 2] = DEAD
    start, move = np.zeros(len(GRID)), 0.01 * np.eye(len(GRID))
    np.add.at(start, point[:, 0], 1)
    np.add.at(move, (point[:, :-1][found.within[:, 1:]], point[:, 1:][found.within[:, 1:]]), 1)
    return Chain(start / start.sum(), move / move.sum(axis=1, keepdims=True))


def in_trees(chain: Chain, found: Solutions, rolled: Outcomes, n: Integers) -> Beliefs:
    """Beliefs that read the tree of each problem; shared states have the most rollouts asked."""
    seen = rolled.observed(found.most(n))
    return believe_by_rule(chain, replace(seen, node=found.node))


BUDGETS: Sequence[tuple[str, EstimateSettings]] = (
    ("two_round", replace(SETTINGS, mc_budget="two_round", pilot="pilot")),
    ("adaptive", replace(SETTINGS, mc_budget="adaptive", pilot="pilot")),
    *(
        (
            f"adaptive, {delta:g}, of 4",
            replace(SETTINGS, mc_budget="adaptive", pilot="pilot", delta=delta, batch=4),
        )
        for delta in (0.2, 0.3)
    ),
)
"""Name, with `delta` and `batch` where they are not the defaults -> settings."""


def first_wrong(labels: Flags) -> Integers:
    """(B,): index of the first wrong step; the number of states where all are right."""
    wrong: Integers = np.where(labels.all(axis=1), labels.shape[1], np.argmin(labels, axis=1))
    return wrong


def show(rows: Sequence[Row], write: Callable[[str], None] = print) -> None:
    """One table."""
    write(f"{'world':15}{'method':28}{'rollouts':>9}{'saved':>8}{'error':>8}{'differs':>9}"
          f"{'1st error':>11}")  # fmt: skip
    for row in rows:
        write(
            f"{row.world:15}{row.method:28}{row.rollouts:9.1f}{row.saved:8.1%}{row.error:8.2%}"
            f"{row.differs:9.2%}{row.first_error:11.1%}"
        )


def main() -> None:
    """Print the table of all worlds."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--problems", type=int, default=250, help="eight solutions each")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", action="store_true")
    chosen = parser.parse_args()
    started = time.process_time()
    rows = [row for i, world in enumerate(WORLDS)
            for row in measure(world, chosen.problems, 1000 * chosen.seed + i)]  # fmt: skip
    if chosen.json:
        print(json.dumps([asdict(row) for row in rows], indent=1))
    else:
        show(rows)
        print(f"seed {chosen.seed}, {time.process_time() - started:.0f} CPU seconds")


if __name__ == "__main__":
    main()
