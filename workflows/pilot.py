"""The pilot: a finished run whose rollouts give the chain, and that says whether to trust it.

The chain must be the same for every worker, every repetition of a shard and every later
relabelling. So it is fitted once, by whoever starts the run, from the rows of a finished run,
which no one can change any more, and it is stored create-only in the new run before its first
shard: workers read it there. Nothing waits for anything in the middle of a run.

The gate: the pilot's rollouts are split into halves. Labels by counts of one half against labels by
counts of the other is the noise floor; labels by counts of one half against what budget and
posterior make of the other, with a chain fitted to other paths, must not be above it by more than
`TOLERANCE`. It is the mean of several splits. A pilot built with twice the run's K has halves
that are runs; with less, counts of a half see more states without success than the run would.

Invariant: pure in the pilot's rows and the settings; the shuffles are seeded.
"""

from __future__ import annotations

import json
from collections import defaultdict
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from storage.commits import canonical_json
from storage.errors import ConfigurationError, NothingFound
from storage.records import Path, StateRollouts
from storage.runs import Run, put_settled
from storage.stores import ObjectStore
from workflows.budgets import SMOOTHED
from workflows.chain_fit import fit
from workflows.labels import labels_of
from workflows.posterior import GRID, Chain, Flags, Floats, Integers, Observed
from workflows.replay import Outcomes, allocated
from workflows.settings import EstimateSettings, LabelSettings, StageSettings
from workflows.smoothed_labels import counted

TOLERANCE = 0.01
"""How far above the noise floor an adaptive budget may stand: one point."""
SPLITS = 8
FEWEST = 20
"""Paths below which no chain is fitted."""


@dataclass(frozen=True, slots=True)
class Gate:
    """What the pilot says of a budget."""

    paths: int
    labels: int
    floor: float
    """Share of labels in which two halves of the pilot differ, both by counts."""
    differs: float
    """Share in which one half by counts and the other by budget and posterior differ."""
    saved: float
    """Share of the second half's rollouts that the budget did not ask for."""

    @property
    def passed(self) -> bool:
        """Whether the budget stays within the pilot's own noise."""
        return self.differs <= self.floor + TOLERANCE


def needs_chain(stages: StageSettings) -> bool:
    """Whether budget or labels need a chain."""
    return stages.estimate.mc_budget in SMOOTHED or stages.label.estimate == "posterior"


def fitted_chain(
    store: ObjectStore, run: str, completer: str, stages: StageSettings
) -> bytes | None:
    """The chain of a new run with its gate, as it is stored; None where none is needed or stands.

    `completer` is the identity of the run's completion model. Called before the run exists, so
    that a refusal leaves nothing behind. Raises ConfigurationError where the pilot is unfit or
    its gate says no, NothingFound where there is no such run.
    """
    if not needs_chain(stages) or _stored(store, run) is not None:
        return None
    name = stages.estimate.pilot
    if name is None:
        raise ConfigurationError("posteriors need a pilot: set `estimate.pilot` to a finished run")
    pilot = Run.open(store, name)
    if pilot.spec.models["completer"] != completer:
        raise ConfigurationError(
            f"pilot {name!r} was rolled out by {pilot.spec.models['completer']}, this run will be "
            f"by {completer}: a chain speaks for one completion model"
        )
    seen = pilot_paths(pilot, stages.estimate.pilot_paths)
    gate = gate_of(seen, stages.estimate, stages.label)
    if stages.estimate.mc_budget in SMOOTHED and not gate.passed:
        raise ConfigurationError(
            f"on pilot {name!r} labels of {stages.estimate.mc_budget} differ by {gate.differs:.1%} "
            f"from those of an exact run, two exact runs by {gate.floor:.1%} ({gate.labels} "
            "labels): take a pilot with more paths or twice the rollouts per state, a smaller "
            "`delta`, or `mc_budget: exact_zero_stop`"
        )
    chain = fit(seen)
    return canonical_json(
        {
            "pilot": name,
            "pilot_spec": pilot.spec.fingerprint,
            "gate": asdict(gate),
            "grid": GRID.tolist(),
            "start": chain.start.tolist(),
            "move": chain.move.tolist(),
        }
    )


def store_chain(run: Run, fitted: bytes | None) -> None:
    """Store what `fitted_chain` made, create-only: of two that start a run, the first decides."""
    if fitted is not None:
        put_settled(run.store, _key(run.name), fitted, run.patience)


def stored_chain(run: Run, stages: StageSettings) -> Chain | None:
    """The chain that the run was started with; None where it needs none.

    Raises NothingFound where the start was interrupted before it was stored.
    """
    if not needs_chain(stages):
        return None
    chain = chain_in(run)
    if chain is None:
        raise NothingFound(
            f"run {run.name!r} was interrupted before its chain was stored: repeat `build` with "
            "its configuration"
        )
    return chain


def chain_in(run: Run) -> Chain | None:
    """The chain that stands in a run; None where there is none."""
    body = _stored(run.store, run.name)
    if body is None:
        return None
    if body["grid"] != GRID.tolist():
        raise ConfigurationError(f"the chain of run {run.name!r} has another grid")
    return Chain(np.array(body["start"]), np.array(body["move"]))


def stored_gate(run: Run) -> Gate | None:
    """What the pilot said when the run was started; None where the run has no chain."""
    body = _stored(run.store, run.name)
    return None if body is None else Gate(**body["gate"])


def pilot_paths(pilot: Run, most: int) -> Observed:
    """The rollouts of the first paths of a finished run that rolled out every state.

    Raises ConfigurationError where it is unfinished, was not exact, or has too few paths.
    """
    if pilot.success() is None:
        raise ConfigurationError(f"pilot {pilot.name!r} is not finished: continue it first")
    found: list[tuple[int, bool, dict[int, tuple[int, int]]]] = []
    for shard in range(pilot.spec.plan.shards):
        made: dict[str, list[StateRollouts]] = defaultdict(list)
        for row in pilot.read_rows("estimate", shard, StateRollouts):
            made[row.path_id].append(row)
            if row.stop_rule != "exact":
                raise ConfigurationError(
                    f"pilot {pilot.name!r} was estimated with `mc_budget: {row.stop_rule}`: a "
                    "chain needs every state rolled out, that is `exact`"
                )
        for path in pilot.read_rows("sample", shard, Path):
            counts = counted(made[path.path_id])
            if path.selected and len(counts) == len(path.steps) and counts[0].c:
                found.append((len(path.steps), path.correct, dict(counts)))
        if len(found) >= most:
            break
    if len(found) < FEWEST:
        raise ConfigurationError(
            f"pilot {pilot.name!r} has {len(found)} fully rolled-out paths: at least {FEWEST}, "
            f"better {most}, are needed"
        )
    return Observed.of(found[:most])


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
        found[path, :steps] = labels_of(measured, labels)[2]
    return found


def _some(seen: Observed, chosen: Flags | Integers) -> Observed:
    return Observed(seen.n[chosen], seen.c[chosen], seen.steps[chosen], seen.correct[chosen])


def _key(run: str) -> str:
    return f"runs/{run}/chain.json"


def _stored(store: ObjectStore, run: str) -> dict[str, Any] | None:
    try:
        body: dict[str, Any] = json.loads(store.get(_key(run)))
    except NothingFound:
        return None
    return body
