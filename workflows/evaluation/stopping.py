"""Cheaper best-of-N: rules that give up solutions early, or stop verifying once they are sure.

Both rules are replayed on the rewards of a finished run, so that measuring them costs no token.

    early rejection   after `after` steps only the best share of the candidates, by their partial
                      rewards, is written to the end.
    reliability       every round verifies each candidate once more, until the leader's mean is
                      high and reliable.

Reliability is the concentration kappa of a Beta distribution (BetaPRM). Its variance is
mu (1 - mu) / (kappa + 1). Scores of mean m and variance v have kappa = m (1 - m) / v - 1.

Invariant: all functions are pure, and ties go to the first in order. Costs count exactly the steps
or verifications that the rule would ask for.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, pvariance

from workflows.votes.rewards import Aggregate, solution_score


@dataclass(frozen=True, slots=True)
class EarlyChoice:
    """The candidate that early rejection chose, and its cost."""

    chosen: int
    """Index of the candidate."""
    steps: int
    """Steps that would be written, with the beginnings of rejected candidates."""
    all_steps: int
    """Steps of all candidates."""


def early_rejection(
    candidates: Sequence[Sequence[float]], after: int, keep: float, aggregate: Aggregate = "min"
) -> EarlyChoice:
    """Choose among candidates (their step rewards), after giving up some at `after` steps.

    Of N candidates the ceil(keep * N) with the best partial score go on. Raises ValueError for no
    candidates, or impossible settings.
    """
    if not candidates or after < 1 or not 0 < keep <= 1:
        raise ValueError("early rejection needs candidates, after >= 1 and 0 < keep <= 1")
    partial = [solution_score(rewards[:after], aggregate) for rewards in candidates]
    ranked = sorted(range(len(candidates)), key=lambda index: (-partial[index], index))
    kept = sorted(ranked[: math.ceil(keep * len(candidates))])
    chosen = max(kept, key=lambda index: (solution_score(candidates[index], aggregate), -index))
    written = sum(
        len(rewards) if index in kept else min(after, len(rewards))
        for index, rewards in enumerate(candidates)
    )
    return EarlyChoice(chosen, written, sum(map(len, candidates)))


@dataclass(frozen=True, slots=True)
class Reliability:
    """A Beta distribution fitted to the scores of one candidate's histories."""

    mean: float
    concentration: float
    """kappa; infinite where the histories agree."""


def reliability(scores: Sequence[float]) -> Reliability:
    """Mean and concentration by moments: kappa = m (1 - m) / v - 1, never below 0."""
    mean, variance = fmean(scores), pvariance(scores)
    if variance == 0:
        return Reliability(mean, math.inf)
    return Reliability(mean, max(0.0, mean * (1 - mean) / variance - 1))


@dataclass(frozen=True, slots=True)
class StoppedChoice:
    """The candidate that reliability-based stopping chose, and its cost."""

    chosen: int
    verifications: int
    """Histories that were asked for, over all candidates."""
    all_verifications: int


def reliable_choice(
    candidates: Sequence[Sequence[float]], high: float, sure: float, least: int = 2
) -> StoppedChoice:
    """Choose among candidates (of each the scores of equally many histories), round by round.

    Every round verifies each candidate once more. After `least` rounds it stops once the leader has
    a mean of `high` and a concentration of `sure`. Raises ValueError for no candidates, or unequal
    numbers of histories.
    """
    rounds = {len(scores) for scores in candidates}
    if len(rounds) != 1 or rounds == {0}:
        raise ValueError("reliability needs candidates with equally many histories, at least one")
    most = rounds.pop()
    for done in range(min(least, most), most + 1):
        fits = [reliability(scores[:done]) for scores in candidates]
        leader = max(range(len(fits)), key=lambda index: (fits[index].mean, -index))
        if fits[leader].mean >= high and fits[leader].concentration >= sure:
            break
    return StoppedChoice(leader, done * len(candidates), most * len(candidates))
