"""The pilot: a finished run whose rollouts give the chain, and the verdict whether to trust it.

The chain must be the same for every worker, every repetition of a shard and every later
relabelling. So the driver fits it once, before the new run's first shard, from the rows of a
finished run. It stores the chain create-only in the new run, where workers read it.

`workflows.estimation.gate` decides whether the budget can be trusted. Its verdict is stored beside
the chain.

Invariant: depends only on the pilot's rows and the settings. A stored chain is never replaced.
"""

from __future__ import annotations

from collections import defaultdict

import numpy as np

from storage.errors import ConfigurationError, NothingFound, RunStopped
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
"""Least number of paths to fit a chain to."""
FEWEST_ROLLOUTS = 8
"""Least number of rollouts per state: the gate halves them."""


def fitted_chain(
    store: ObjectStore, run: str, completer: str, stages: StageSettings
) -> PilotRecord | None:
    """The record of a new run's chain and gate; None if the run has one already.

    `completer` is the identity of the run's completion model. Call it before the run is created,
    so that a refusal leaves nothing behind. Raises ConfigurationError if the pilot is unfit or
    the gate refuses, NothingFound if there is no run of the pilot's name.
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


def store_chain(run: Run, fitted: PilotRecord) -> None:
    """Store the record of `fitted_chain`, create-only: of two drivers, the first one's stays.

    Raises RunStopped if another driver's stands: our workers have the chain that was fitted here.
    """
    store_pilot_record(run.store, run.name, fitted, run.patience)
    if pilot_record(run.store, run.name) != fitted:
        raise RunStopped(f"run {run.name!r} was started by another command at the same moment")


def stored_chain(run: Run) -> Chain:
    """The chain that the run was started with.

    Raises NothingFound if the start was interrupted before the chain was stored.
    """
    chain = chain_in(run)
    if chain is None:
        raise NothingFound(
            f"run {run.name!r} was interrupted before its chain was stored: repeat `build` with "
            "its configuration"
        )
    return chain


def chain_in(run: Run) -> Chain | None:
    """The chain stored in a run, or None. Raises ConfigurationError if its grid is another."""
    record = pilot_record(run.store, run.name)
    if record is None:
        return None
    if record.grid != GRID.tolist():
        raise ConfigurationError(f"the chain of run {run.name!r} has another grid")
    return chain_of(record)


def chain_of(record: PilotRecord) -> Chain:
    """The chain of a pilot's record."""
    return Chain(np.array(record.start), np.array(record.move))


def pilot_paths(pilot: Run, most: int) -> Observed:
    """The rollouts of the first `most` fully rolled-out paths of a finished run.

    Raises ConfigurationError if the run is unfinished, if its budget was other than `exact`, or
    if it has too few paths or rollouts.
    """
    if pilot.success() is None:
        raise ConfigurationError(f"pilot {pilot.name!r} is not finished: continue it first")
    paths: list[tuple[int, bool, dict[int, tuple[int, int]]]] = []
    for shard in range(pilot.spec.plan.shards):
        rollouts: dict[str, list[StateRollouts]] = defaultdict(list)
        for row in pilot.read_rows(ROLLOUTS, shard):
            rollouts[row.path_id].append(row)
            if row.stop_rule != "exact":
                raise ConfigurationError(
                    f"pilot {pilot.name!r} was estimated with `mc_budget: {row.stop_rule}`: a "
                    "chain needs every state rolled out, that is `exact`"
                )
        for path in pilot.read_rows(PATHS, shard):
            counts = counted(rollouts[path.path_id])
            if path.selected and len(counts) == len(path.steps) and counts[0].c:
                if (fewest := min(count.n for count in counts.values())) < FEWEST_ROLLOUTS:
                    raise ConfigurationError(
                        f"pilot {pilot.name!r} has states with {fewest} rollouts: at least "
                        f"{FEWEST_ROLLOUTS}, better twice the K of the run, are needed"
                    )
                paths.append((len(path.steps), path.correct, dict(counts)))
        if len(paths) >= most:
            break
    if len(paths) < FEWEST:
        raise ConfigurationError(
            f"pilot {pilot.name!r} has {len(paths)} fully rolled-out paths: at least {FEWEST}, "
            f"better {most}, are needed"
        )
    return Observed.of(paths[:most])
