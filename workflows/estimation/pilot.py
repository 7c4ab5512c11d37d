"""The pilot: a finished run whose rollouts give the chain, and that says whether to trust it.

The chain must be the same for every worker, every repetition of a shard and every later
relabelling. So it is fitted once, by whoever starts the run, from the rows of a finished run,
which no one can change any more, and it is stored create-only in the new run before its first
shard: workers read it there. Nothing waits for anything in the middle of a run.

Whether the budget may be trusted on it is `workflows.estimation.gate`'s verdict, stored beside it.

Invariant: pure in the pilot's rows and the settings; what stands in a run is never replaced.
"""

from __future__ import annotations

from collections import defaultdict

import numpy as np

from storage.errors import ConfigurationError, NothingFound
from storage.objects.store import ObjectStore
from storage.rows.kinds import PATHS, ROLLOUTS
from storage.rows.records import StateRollouts
from storage.runs.pilot_record import PilotRecord, pilot_record, store_pilot_record
from storage.runs.run import Run
from workflows.estimation.chain_fit import fit
from workflows.estimation.gate import gate_of
from workflows.estimation.posterior import GRID, Chain, Observed
from workflows.estimation.smoothed import counted
from workflows.settings import SMOOTHED, StageSettings

FEWEST = 20
"""Paths below which no chain is fitted."""
FEWEST_ROLLOUTS = 8
"""Rollouts of a state below which its halves say nothing."""


def fitted_chain(
    store: ObjectStore, run: str, completer: str, stages: StageSettings
) -> PilotRecord | None:
    """The chain of a new run with its gate, as it is stored; None where one stands.

    `completer` is the identity of the run's completion model. Called before the run exists, so
    that a refusal leaves nothing behind. Raises ConfigurationError where the pilot is unfit or
    its gate says no, NothingFound where there is no such run.
    """
    if pilot_record(store, run) is not None:
        return None
    name, budget = stages.estimate.pilot, stages.estimate.mc_budget
    if name is None:
        raise ConfigurationError("posteriors need a pilot: set `estimate.pilot` to a finished run")
    pilot = Run.open(store, name)
    if pilot.spec.models["completer"] != completer:
        raise ConfigurationError(
            f"pilot {name!r} was rolled out by {pilot.spec.models['completer']}, this run will be "
            f"by {completer}: a chain speaks for one completion model"
        )
    seen = pilot_paths(pilot, stages.estimate.pilot_paths)
    spent, chain = pilot.totals(ROLLOUTS.stage).counts, fit(seen)
    record = PilotRecord(
        pilot=name,
        pilot_spec=pilot.spec.fingerprint,
        budget=budget,
        rollouts=spent["rollouts"],
        tokens=spent["tokens"],
        gate=gate_of(seen, stages.estimate, stages.label),
        grid=GRID.tolist(),
        start=chain.start.tolist(),
        move=chain.move.tolist(),
    )
    if budget in SMOOTHED and not record.gate.passed:
        raise ConfigurationError(
            f"the pilot says no: {record.sentence}. Take a smaller `delta`, more `pilot_paths`, "
            "a pilot with more rollouts per state, or `mc_budget: exact_zero_stop`"
        )
    return record


def store_chain(run: Run, fitted: PilotRecord | None) -> None:
    """Store what `fitted_chain` made, create-only: of two that start a run, the first decides."""
    if fitted is not None:
        store_pilot_record(run.store, run.name, fitted, run.patience)


def stored_chain(run: Run) -> Chain:
    """The chain that the run was started with.

    Raises NothingFound where the start was interrupted before it was stored.
    """
    chain = chain_in(run)
    if chain is None:
        raise NothingFound(
            f"run {run.name!r} was interrupted before its chain was stored: repeat `build` with "
            "its configuration"
        )
    return chain


def chain_in(run: Run) -> Chain | None:
    """The chain that stands in a run; None where there is none."""
    record = pilot_record(run.store, run.name)
    if record is None:
        return None
    if record.grid != GRID.tolist():
        raise ConfigurationError(f"the chain of run {run.name!r} has another grid")
    return Chain(np.array(record.start), np.array(record.move))


def pilot_paths(pilot: Run, most: int) -> Observed:
    """The rollouts of the first paths of a finished run that rolled out every state.

    Raises ConfigurationError where it is unfinished, was not exact, or has too few paths or
    rollouts.
    """
    if pilot.success() is None:
        raise ConfigurationError(f"pilot {pilot.name!r} is not finished: continue it first")
    found: list[tuple[int, bool, dict[int, tuple[int, int]]]] = []
    for shard in range(pilot.spec.plan.shards):
        made: dict[str, list[StateRollouts]] = defaultdict(list)
        for row in pilot.read_rows(ROLLOUTS, shard):
            made[row.path_id].append(row)
            if row.stop_rule != "exact":
                raise ConfigurationError(
                    f"pilot {pilot.name!r} was estimated with `mc_budget: {row.stop_rule}`: a "
                    "chain needs every state rolled out, that is `exact`"
                )
        for path in pilot.read_rows(PATHS, shard):
            counts = counted(made[path.path_id])
            if path.selected and len(counts) == len(path.steps) and counts[0].c:
                if (fewest := min(count.n for count in counts.values())) < FEWEST_ROLLOUTS:
                    raise ConfigurationError(
                        f"pilot {pilot.name!r} has states with {fewest} rollouts: at least "
                        f"{FEWEST_ROLLOUTS}, better twice the K of the run, are needed"
                    )
                found.append((len(path.steps), path.correct, dict(counts)))
        if len(found) >= most:
            break
    if len(found) < FEWEST:
        raise ConfigurationError(
            f"pilot {pilot.name!r} has {len(found)} fully rolled-out paths: at least {FEWEST}, "
            f"better {most}, are needed"
        )
    return Observed.of(found[:most])
