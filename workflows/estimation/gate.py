"""The gate: whether a budget's labels stay within the noise of exact ones, on a pilot.

The pilot's rollouts of each state are split into two halves. The noise floor is how often the
count labels of the two halves differ. The budget's disagreement is how often a half's count
labels differ from the posterior's labels on the other half. Its chain is fitted to other paths.
It may exceed the floor by at most `storage.runs.pilot_record.TOLERANCE`. Both are means over
several splits. Build the pilot with twice the run's K, so that a half is as large as a run's
state. In smaller halves more states have no success than in the run.

Invariant: depends only on the pilot's rows and the settings; the shuffles are seeded.
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
    floor, differs, requested, whole = [], [], 0, 0
    for split in range(SPLITS):
        rng = np.random.default_rng(split)
        hits = _shuffled(pilot, rng)
        half = pilot.n.max() // 2
        ours = Outcomes.of(hits[:, :, :half], pilot.steps, pilot.correct)
        other = Outcomes.of(hits[:, :, half:], pilot.steps, pilot.correct)
        n = pilot.n // 2
        k = np.where(within, n, n.max()).min(axis=1)  # state 0 has more if the probe exceeds K
        exact = _count_labels(ours.observed(n), labels)
        floor.append((exact != _count_labels(other.observed(n), labels))[within].mean())
        smoothed = np.ones_like(exact)
        for fold, chain in enumerate(chains):
            chosen = folds == fold
            part = Outcomes(other.right[chosen], other.steps[chosen], other.correct[chosen])
            beliefs = allocated(part, k[chosen], chain, settings, labels)
            smoothed[chosen] = beliefs.right(labels) >= 0.5
            requested += int(beliefs.seen.n.sum())
            whole += int(n[chosen].sum())
        differs.append((exact != smoothed)[within].mean())
    return Gate(
        paths=len(pilot.steps),
        labels=int(within.sum()),
        floor=round(float(np.mean(floor)), 6),
        differs=round(float(np.mean(differs)), 6),
        saved=round(1 - requested / whole, 6),
    )


def _shuffled(pilot: Observed, rng: np.random.Generator) -> Flags:
    """(B, S, N) single rollouts with the pilot's counts, in a random order; N = 2 * (K // 2).

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
    """(B, S): labels by counts, as in the paper; True beyond a path's end."""
    labelled = np.ones(seen.n.shape, dtype=bool)
    mc: Floats = seen.c / np.maximum(seen.n, 1)
    for path, steps in enumerate(seen.steps):
        measured = [*mc[path, :steps].tolist(), float(seen.correct[path])]
        labelled[path, :steps] = step_values(measured, labels).labels
    return labelled


def _some(seen: Observed, chosen: Flags | Integers) -> Observed:
    return Observed(seen.n[chosen], seen.c[chosen], seen.steps[chosen], seen.correct[chosen])
