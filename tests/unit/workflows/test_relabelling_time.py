"""Relabelling a finished run is a matter of milliseconds a solution."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from benchmarks.relabel import SELECTED, configuration, made_of, store_finished
from workflows.build import planned
from workflows.derived_runs import start_derived
from workflows.settings import LabelSettings


@pytest.mark.parametrize("estimate", ["counts", "posterior"])
async def test_a_thousand_solutions_are_relabelled_within_a_second(
    tmp_path: Path, estimate: Any
) -> None:
    """The small version of `benchmarks/relabel.py`: `build --from`, from samples to dataset.

    CPU seconds, since others may be busy on this machine. A chain is fitted once per run, however
    many solutions it has, when the run starts: that is not in it.
    """
    config = configuration(tmp_path, 1000 // SELECTED, 64)
    source = await store_finished(config, seed=0)
    stages = replace(
        config.stages,
        estimate=replace(config.stages.estimate, pilot="finished"),
        label=LabelSettings(threshold=0.7, estimate=estimate),
    )
    config = replace(config, run="again", stages=stages)
    run = start_derived(config, source.store, planned(config, None), source)
    started = time.process_time()
    await made_of(run, config)
    spent = time.process_time() - started
    print(f"{spent:.2f} CPU seconds by {estimate}")
    assert run.totals("label").rows == 1000
    assert spent < 1.0
