"""Rollouts where labels are in doubt: allocation by the posterior of each label.

    two_round      K/4 in every state; then up to K in the states of uncertain labels.
    adaptive       A batch in every state; then a batch at a time in the states of uncertain
                   labels, until each label is decided or its states have cap * K.
    first_success  Batches until one rollout is right or K are made: for hard labels only.
    binary_search  The same in the middle state of the unknown part of a wrong path (OmegaPRM).

A label is decided once it is wrong with a chance of at most `delta`. States are rolled out from
left to right, up to the first certainly dead one (`CERTAINLY_DEAD`): all labels beyond it are
wrong. A state without success that looks dead gets rollouts until it is certainly dead or
complete. A complete one ends the path as it does under `exact`
(`workflows.estimation.posterior.believe_by_rule`). State 0 has its K rollouts before any of this,
since all paths of a problem share them.

Invariant: the next request depends only on the chain, the settings and the counts so far, so a
repeated shard requests the same rollouts. `decide` is the rule for many paths at once; a budget
calls it for a single path.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from storage.errors import ConfigurationError
from workflows.estimation.contract import Count, RolloutBudget, Want
from workflows.estimation.fixed import FixedBudget, probes
from workflows.estimation.posterior import (
    CERTAINLY_DEAD,
    Beliefs,
    Chain,
    Flags,
    Integers,
    Observed,
    believe_by_rule,
    without_success,
)
from workflows.settings import SMOOTHED, EstimateSettings, LabelSettings

HARD_ONLY = frozenset({"first_success", "binary_search"})
"""Budgets that find out only whether MC > 0."""
DELTA: Mapping[str, float] = {"two_round": 0.25, "adaptive": 0.1}
"""Default `delta` per budget, chosen with `benchmarks/labels/label_worlds.py`."""


def decide(
    beliefs: Beliefs, k: Integers, settings: EstimateSettings, labels: LabelSettings
) -> Integers:
    """(B, S) further rollouts per state under `two_round` or `adaptive`; `k` is K per path, (B,).

    `beliefs` come from `believed`. A row of zeros means that the path is done. A state that looks
    dead gets its rollouts first, then the next state without any. Otherwise each uncertain label
    t adds rollouts to state t or t + 1: to the one below its limit whose success probability has
    the larger relative deviation, since a label is a ratio of the two.
    """
    seen = beliefs.seen
    there = np.arange(seen.n.shape[1]) < seen.steps[:, None]
    two_round = settings.mc_budget == "two_round"
    most = k if two_round else np.ceil(k * settings.cap).astype(np.int64)
    first = -(-k // 4) if two_round else np.minimum(most, settings.batch)
    open_end = without_success(beliefs) & there & (beliefs.dead < CERTAINLY_DEAD)
    open_end &= seen.n < _complete(k, settings)[:, None]
    open_end &= np.cumsum(open_end, axis=1) == 1
    waits = open_end.any(axis=1, keepdims=True)
    entered = _next_state(beliefs, there) & ~waits
    uncertain = (beliefs.error(labels) > delta_of(settings)) & there
    left = np.where(there & (seen.n > 0), np.maximum(most[:, None] - seen.n, 0), 0)
    doubt = np.where(left > 0, beliefs.relative_deviation, -1.0)
    after = np.zeros_like(uncertain)
    after[:, :-1] = doubt[:, 1:] > doubt[:, :-1]
    touched = uncertain & ~after
    touched[:, 1:] |= (uncertain & after)[:, :-1]
    touched = np.where(waits, open_end, touched & ~entered.any(axis=1, keepdims=True))
    more = left if two_round else np.minimum(left, settings.batch)
    further: Integers = np.where(entered, first[:, None], 0) + np.where(touched, more, 0)
    return further


def believed(chain: Chain, seen: Observed, k: Integers, settings: EstimateSettings) -> Beliefs:
    """Beliefs about paths that are still being rolled out, for `decide`."""
    return believe_by_rule(chain, seen, _complete(k, settings))


def _complete(k: Integers, settings: EstimateSettings) -> Integers:
    """(B,): rollouts that complete a state without success: K, or the cap if that is smaller."""
    if settings.mc_budget == "two_round":
        return k
    capped: Integers = np.minimum(k, np.ceil(k * settings.cap).astype(np.int64))
    return capped


def delta_of(settings: EstimateSettings) -> float:
    """The chance of being wrong that a decided label may have."""
    return DELTA[settings.mc_budget] if settings.delta is None else settings.delta


def _next_state(beliefs: Beliefs, there: Flags) -> Flags:
    """(B, S): the first state without rollouts, unless the state before it is certainly dead."""
    missing: Flags = (beliefs.seen.n == 0) & there
    first: Flags = missing & (np.cumsum(missing, axis=1) == 1)
    first[:, 1:] &= beliefs.dead[:, :-1] < CERTAINLY_DEAD
    return first


class PosteriorBudget(FixedBudget):
    """`two_round` and `adaptive`."""

    def __init__(self, settings: EstimateSettings, labels: LabelSettings, chain: Chain) -> None:
        """`labels`: the label rule, which says when a label is decided."""
        super().__init__(settings)
        self._labels = labels
        self._chain = chain

    def wants(
        self, steps: int, k: int, counts: Mapping[int, Count], correct: bool = False
    ) -> tuple[Want, ...]:
        """Rollouts to make next for a path. Its own answer is evidence about its last state."""
        seen, whole = Observed.of([(steps, correct, counts)]), np.array([k])
        beliefs = believed(self._chain, seen, whole, self._settings)
        further = decide(beliefs, whole, self._settings, self._labels)[0]
        return tuple(Want(state, int(n)) for state, n in enumerate(further) if n)


class FirstSuccess(FixedBudget):
    """`first_success`: rolls out until it is known whether MC(s) > 0 in K, for hard labels."""

    def wants(
        self, steps: int, k: int, counts: Mapping[int, Count], correct: bool = False
    ) -> tuple[Want, ...]:
        """The next batch of the first state without success; nothing once its MC is 0 in K."""
        del correct
        for state in range(1, steps):
            count = counts.get(state, Count(0, 0))
            if count.c == 0:
                batch = min(self._settings.batch, k - count.n)
                return (Want(state, batch),) if batch > 0 else ()
        return ()


class BinarySearch(FixedBudget):
    """`binary_search`: finds the first dead state of a wrong path by halving; skips right paths."""

    def wants(
        self, steps: int, k: int, counts: Mapping[int, Count], correct: bool = False
    ) -> tuple[Want, ...]:
        """The next batch of the middle state."""
        if correct:
            return ()
        live, dead = probes(steps, counts, k)
        if dead - live < 2:
            return ()
        middle = (live + dead) // 2
        count = counts.get(middle, Count(0, 0))
        return (Want(middle, min(self._settings.batch, k - count.n)),)


def budget_of(
    settings: EstimateSettings, labels: LabelSettings, chain: Chain | None
) -> RolloutBudget:
    """The budget named in the settings. Raises ConfigurationError if it needs a missing chain."""
    if settings.mc_budget == "first_success":
        return FirstSuccess(settings)
    if settings.mc_budget == "binary_search":
        return BinarySearch(settings)
    if settings.mc_budget not in SMOOTHED:
        return FixedBudget(settings)
    if chain is None:
        raise ConfigurationError(
            f"`mc_budget: {settings.mc_budget}` needs the chain of a pilot: name a finished run "
            "of the same store as `estimate.pilot`"
        )
    return PosteriorBudget(settings, labels, chain)


def check_budget(settings: EstimateSettings, labels: LabelSettings) -> None:
    """Refuse, before any work, a budget whose rollouts cannot give the configured labels.

    Raises ConfigurationError.
    """
    budget = settings.mc_budget
    if settings.hard_below > settings.easy_from:
        raise ConfigurationError(
            f"`estimate.hard_below: {settings.hard_below:g}` lies above `estimate.easy_from: "
            f"{settings.easy_from:g}`: lower one or raise the other"
        )
    if budget in SMOOTHED and labels.estimate != "posterior":
        raise ConfigurationError(
            f"`mc_budget: {budget}` leaves most states with few rollouts, from which counts give "
            "worse labels than `exact`: set `label.estimate: posterior`"
        )
    if (budget in SMOOTHED or labels.estimate == "posterior") and settings.pilot is None:
        raise ConfigurationError(
            "posteriors need a chain fitted to a pilot: name a finished run of the same store, "
            "built with `mc_budget: exact`, as `estimate.pilot`"
        )
    if labels.estimate == "posterior" and (settings.paths, settings.start) != ("all", "completer"):
        raise ConfigurationError(
            "posteriors read all states of all paths by one model: set `estimate.paths: all` and "
            "`estimate.start: completer`, or `label.estimate: counts`"
        )
    if budget in HARD_ONLY and (
        labels.form != "hard" or labels.threshold != 0 or labels.estimate != "counts"
    ):
        raise ConfigurationError(
            f"`mc_budget: {budget}` knows only whether MC > 0: set `label.form: hard` and "
            "`label.threshold: 0`, or estimate with another budget"
        )
    if not math.isfinite(settings.cap) or settings.cap <= 0:
        raise ConfigurationError(f"`estimate.cap` is a multiple of K above 0, not {settings.cap}")
