"""A chain fitted to a pilot: how success probabilities move along fully rolled-out paths.

EM in two stages. In the first, the moves are a mixture of a few kernels: stay, small and large
steps in log-odds, death, a leak to nearly dead, anywhere lower, anywhere higher. Its weights
depend on the band of the state before the step. A few hundred paths determine these some thirty
parameters. The second stage fits every entry, with the mixture as prior (maximum a posteriori):

    N[g, h]    = sum over paths and steps of P(q_t = g, q_t+1 = h | all);
    weight_k   ~ sum over g of the band and h of N[g, h] weight_k K_k[g, h] / mixture[g, h];
    move[g, h] = (N[g, h] + kappa mixture[g, h]) / (N[g, :] + kappa);
    start[g]   = (sum over paths of P(q_0 = g | all) + kappa / G) / (paths + kappa).

Invariant: depends only on the pilot's counts: no randomness, a fixed number of rounds.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

from workflows.estimation.posterior import (
    DEAD,
    GRID,
    LOGITS,
    ROWS,
    Beliefs,
    Chain,
    Floats,
    Observed,
    believe,
    moved,
)

KAPPA: Final = 8.0
"""Pseudo-counts per row in the second stage (kappa)."""
MIXTURE_ROUNDS: Final = 25
FULL_ROUNDS: Final = 15
BANDS: Final = (0.2, 0.8)
"""Success probabilities that separate the bands of the state before a step."""
LEAK: Final = 0.05
"""A success probability below this is nearly dead."""
WIDTHS: Final = (0.3, 0.8, 2.0)
"""Standard deviations of the steps in log-odds."""


def fit(pilot: Observed) -> Chain:
    """The chain of a pilot of B paths: a few hundred, with K rollouts in every state."""
    kernels = _kernels()
    bands = np.searchsorted(BANDS, GRID, side="right")
    weights = np.full((len(BANDS) + 1, len(kernels)), 1 / len(kernels))
    mixture = _mix(weights[bands], kernels)
    chain = Chain(np.full(len(GRID), 1 / len(GRID)), mixture)
    for _ in range(MIXTURE_ROUNDS):
        chain, moved = Chain(*_counted(chain, pilot)), chain.move
        share = np.divide(chain.move, moved, out=np.zeros_like(moved), where=moved > 0)
        for band in range(len(weights)):
            rows = (bands == band) & (np.arange(len(GRID)) != DEAD)
            shares = weights[band] * np.einsum("kgh,gh->k", kernels[:, rows], share[rows]) + 0.5
            weights[band] = shares / shares.sum()
        mixture = _mix(weights[bands], kernels)
        chain = Chain(chain.start, mixture)
    for _ in range(FULL_ROUNDS):
        start, moves = _counted(chain, pilot)
        move = moves + KAPPA * mixture
        chain = Chain(start, move / move.sum(axis=1, keepdims=True))
    return chain


def _counted(chain: Chain, pilot: Observed) -> tuple[Floats, Floats]:
    """(start (G,), N (G, G)): the smoothed start and the expected moves under a chain."""
    beliefs = believe(chain, pilot)
    first = beliefs.state[:, 0].sum(axis=0) + KAPPA / len(GRID)
    return first / first.sum(), _expected_moves(beliefs)


def _expected_moves(beliefs: Beliefs) -> Floats:
    steps, states = beliefs.seen.steps, beliefs.seen.n.shape[1]
    within = np.arange(states - 1) < (steps - 1)[:, None]
    past = beliefs.past[:, :-1][within]
    future = beliefs.future[:, 1:][within]
    move = beliefs.chain.move
    past = past / np.einsum("ng,ng->n", moved(past, move), future)[:, None]
    counted = np.zeros_like(move)
    for i in range(0, len(past), ROWS):  # as in `moved`
        counted += past[i : i + ROWS].T @ future[i : i + ROWS]
    return move * counted


def _mix(weights: Floats, kernels: Floats) -> Floats:
    """The (G, G) moves of a mixture with (G, kernels) weights; what is dead stays dead."""
    move: Floats = np.einsum("gk,kgh->gh", weights, kernels)
    move /= move.sum(axis=1, keepdims=True)
    move[DEAD] = 0.0
    move[DEAD, DEAD] = 1.0
    return move


def _kernels() -> Floats:
    """(kernels, G, G): each row is a distribution over the state after a step."""
    size = len(GRID)
    apart = np.zeros((size, size))
    apart[1:, 1:] = LOGITS[None, :] - LOGITS[:, None]
    alive = np.ones((size, size), dtype=bool)
    alive[:, DEAD] = False
    death = np.zeros((size, size))
    death[:, DEAD] = 1.0
    parts: list[npt.NDArray[np.generic]] = [np.eye(size), death]
    parts += [np.exp(-0.5 * (apart / width) ** 2) * alive for width in WIDTHS]
    parts += [alive & (GRID[None, :] < LEAK), alive & (apart <= 0), alive & (apart >= 0)]
    rows = [part / part.sum(axis=1, keepdims=True) for part in map(np.float64, parts)]
    kernels: Floats = np.stack(rows)
    return kernels
