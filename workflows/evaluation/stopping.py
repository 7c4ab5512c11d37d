"""Best-of-N for less: solutions given up early, and verifications that stop once they are sure.

Both are replayed from what a finished run stored (rewards per step, one row per history), so that
a rule is measured against the full choice without spending a token.

    early rejection   after the first `after` steps keep the best share of the candidates; only
                      they are written to their end (early rejection of partial solutions by their
                      partial rewards)
    reliability       verify the candidates once more, round by round, until the leader's mean is
                      high and surely so; a Beta distribution of mean mu and concentration kappa
                      has variance mu (1 - mu) / (kappa + 1), so histories with mean m and
                      variance v have kappa = m (1 - m) / v - 1 (BetaPRM's two outputs, here by
                      moments)

Invariant: pure; ties go to the first in order; the ledger counts exactly what the rule would have
asked for.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, pvariance

from workflows.votes.rewards import Aggregate, solution_score


@dataclass(frozen=True, slots=True)
class EarlyChoice:
    """What early rejection chose, and what it cost."""

    chosen: int
    """Index of the candidate."""
    steps: int
    """Steps that were written, rejected candidates' beginnings included."""
    all_steps: int
    """Steps of all candidates."""


def early_rejection(
    candidates: Sequence[Sequence[float]], after: int, keep: float, aggregate: Aggregate = "min"
) -> EarlyChoice:
    """Choose among candidates (their step rewards), most of them given up after `after` steps.

    Of N candidates the ceil(keep * N) with the best partial score go on; a candidate that has
    ended by then costs no more. Raises ValueError for no candidates, or impossible settings.
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
    """What reliability-based stopping chose, and what it cost."""

    chosen: int
    verifications: int
    """Histories that were asked for, over all candidates."""
    all_verifications: int


def reliable_choice(
    candidates: Sequence[Sequence[float]], high: float, sure: float, least: int = 2
) -> StoppedChoice:
    """Choose among candidates (each one's score by history, equally many each), round by round.

    Every round verifies every candidate once more; it stops after at least `least` rounds once the
    leader's mean is at least `high` and its concentration at least `sure`. Raises ValueError for
    no candidates or histories of unequal number.
    """
    rounds = {len(scores) for scores in candidates}
    if len(rounds) != 1 or rounds == {0}:
        raise ValueError("reliability needs candidates with equally many histories, at least one")
    most = rounds.pop()
    for made in range(min(least, most), most + 1):
        fits = [reliability(scores[:made]) for scores in candidates]
        leader = max(range(len(fits)), key=lambda index: (fits[index].mean, -index))
        if fits[leader].mean >= high and fits[leader].concentration >= sure:
            break
    return StoppedChoice(leader, made * len(candidates), most * len(candidates))
