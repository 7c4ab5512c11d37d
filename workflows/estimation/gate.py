"""The gate: whether a budget's labels stay within the noise of exact ones, on a pilot.

The pilot's rollouts are split into halves. Labels by counts of one half against labels by
counts of the other is the noise floor; labels by counts of one half against what budget and
posterior make of the other, with a chain fitted to other paths, must not be above it by more than
`storage.runs.pilot_record.TOLERANCE`. It is the mean of several splits. A pilot built with twice
the run's K has halves that are runs; with less, counts of a half see more states without success
than the run would.

Invariant: pure in the pilot's rows and the settings; the shuffles are seeded.
"""

from __future__ import annotations

import numpy as np

from storage.runs.pilot_record import Gate
from workflows.estimation.chain_fit import fit
from workflows.estimation.posterior import Flags, Floats, Integers, Observed
from workflows.estimation.replay import Outcomes, allocated
from workflows.labels.values import step_values
from workflows.settings import EstimateSettings, LabelSettings

SPLITS = 8


def gate_of(pilot: Observed, settings: EstimateSettings, labels: LabelSettings) -> Gate:
    """Split-half noise floor and disagreement of a budget on a pilot."""
    folds = np.arange(len(pilot.steps)) % 2
    chains = [fit(_some(pilot, folds != fold)) for fold in (0, 1)]
    within = np.arange(pilot.n.shape[1]) < pilot.steps[:, None]
    floor, differs, asked, whole = [], [], 0, 0
    for split in range(SPLITS):
        rng = np.random.default_rng(split)
        hits = _shuffled(pilot, rng)
        half = pilot.n.max() // 2
        ours = Outcomes.of(hits[:, :, :half], pilot.steps, pilot.correct)
        other = Outcomes.of(hits[:, :, half:], pilot.steps, pilot.correct)
        n = pilot.n // 2
        k = np.where(within, n, n.max()).min(axis=1)  # the probe may have been larger than K
        exact = _count_labels(ours.observed(n), labels)
        floor.append((exact != _count_labels(other.observed(n), labels))[within].mean())
        smoothed = np.ones_like(exact)
        for fold, chain in enumerate(chains):
            chosen = folds == fold
            part = Outcomes(other.right[chosen], other.steps[chosen], other.correct[chosen])
            beliefs = allocated(part, k[chosen], chain, settings, labels)
            smoothed[chosen] = beliefs.right(labels) >= 0.5
            asked += int(beliefs.seen.n.sum())
            whole += int(n[chosen].sum())
        differs.append((exact != smoothed)[within].mean())
    return Gate(
        paths=len(pilot.steps),
        labels=int(within.sum()),
        floor=round(float(np.mean(floor)), 6),
        differs=round(float(np.mean(differs)), 6),
        saved=round(1 - asked / whole, 6),
    )


def _shuffled(pilot: Observed, rng: np.random.Generator) -> Flags:
    """(B, S, N): single rollouts in a random order that agree with the counts, N = 2 * (K // 2).

    The halves of a state with n < N rollouts start at 0 and N / 2.
    """
    half = int(pilot.n.max()) // 2
    hits = np.zeros((*pilot.n.shape, 2 * half), dtype=bool)
    for path, state in zip(*np.nonzero(pilot.n), strict=True):
        n, c = int(pilot.n[path, state]), int(pilot.c[path, state])
        drawn = rng.permutation(n) < c
        hits[path, state, : n // 2] = drawn[: n // 2]
        hits[path, state, half : half + n // 2] = drawn[n // 2 : 2 * (n // 2)]
    return hits


def _count_labels(seen: Observed, labels: LabelSettings) -> Flags:
    """(B, S): the paper's labels; True beyond a path's end."""
    found = np.ones(seen.n.shape, dtype=bool)
    mc: Floats = seen.c / np.maximum(seen.n, 1)
    for path, steps in enumerate(seen.steps):
        measured = [*mc[path, :steps].tolist(), float(seen.correct[path])]
        found[path, :steps] = step_values(measured, labels).labels
    return found


def _some(seen: Observed, chosen: Flags | Integers) -> Observed:
    return Observed(seen.n[chosen], seen.c[chosen], seen.steps[chosen], seen.correct[chosen])
