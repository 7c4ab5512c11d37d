"""A chain that can't be had, or is not the run's: each time the user is told what to do."""

from __future__ import annotations

from dataclasses import replace

import pytest

from storage.errors import ConfigurationError, NothingFound
from storage.objects.memory import MemoryStore
from storage.runs.pilot_record import Gate, PilotRecord, store_pilot_record
from tests.support.whole_run import finished, started
from workflows.estimation.pilot import chain_in, fitted_chain, pilot_paths, stored_chain
from workflows.settings import EstimateSettings, StageSettings

OTHER_GRID = PilotRecord(
    pilot="p", pilot_spec="0" * 64, budget="adaptive", rollouts=1, tokens=1,
    gate=Gate(1, 1, 0.0, 0.0, 0.0), grid=[0.0, 1.0], start=[0.5, 0.5], move=[[1.0, 0.0]] * 2,
)  # fmt: skip


def adaptive(pilot: str | None) -> StageSettings:
    return StageSettings(estimate=EstimateSettings(mc_budget="adaptive", pilot=pilot))


def test_posteriors_without_a_pilot_are_refused() -> None:
    with pytest.raises(ConfigurationError, match=r"set `estimate\.pilot` to a finished run"):
        fitted_chain(MemoryStore(), "new", "completer", adaptive(None))


def test_a_pilot_of_another_completion_model_is_refused_with_both_names() -> None:
    store = MemoryStore()
    run = finished(store)
    with pytest.raises(ConfigurationError) as refused:
        fitted_chain(store, "new", "another@1", adaptive("whole"))
    assert run.spec.models["completer"] in str(refused.value)
    assert "another@1" in str(refused.value)


def test_a_pilot_that_is_not_finished_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="'whole' is not finished: continue it first"):
        pilot_paths(started(MemoryStore()), 300)


def test_a_start_that_was_interrupted_before_its_chain_is_repeated() -> None:
    with pytest.raises(NothingFound, match="repeat `build` with its configuration"):
        stored_chain(started(MemoryStore()))


def test_a_chain_of_another_grid_is_not_read_as_ours() -> None:
    run = started(MemoryStore())
    store_pilot_record(run.store, run.name, OTHER_GRID)
    with pytest.raises(ConfigurationError, match="the chain of run 'whole' has another grid"):
        chain_in(run)


def test_what_stands_in_a_run_is_not_fitted_again() -> None:
    run = started(MemoryStore())
    store_pilot_record(run.store, run.name, replace(OTHER_GRID, pilot="first"))
    assert fitted_chain(run.store, run.name, "completer", adaptive("absent")) is None
