"""A new run is stored once its first engines are open, and not before."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from storage.audit import audit
from storage.errors import EngineRefused, SpecMismatch
from storage.objects.opening import open_store
from storage.runs.run import Run
from tests.support import here
from tests.support.scripted_build import configure
from workflows.road import StageSpec
from workflows.runs.driving import continue_run
from workflows.runs.run import run
from workflows.runs.starting import planned, start_of
from workflows.schedule.beginning import UnbegunSchedule
from workflows.schedule.schedule import Open, RolePlan

ROAD = (
    StageSpec("sample", "policy", ("problems",)),
    StageSpec("estimate", "completer", ("sample",)),
)
MODELS = {
    role: {"kind": "scripted", "model": f"tests.scripted_models:{role}"}
    for role in ("policy", "completer")
}
STAGES = {
    "road": ["sample", "estimate", "label", "consensus", "export"],
    "consensus": {"sources": ["labels"]},
    "estimate": {"k_hard": 16, "k_medium": 12, "k_easy": 8, "probe": 8},
}


def schedule(slots: int) -> UnbegunSchedule:
    roles = {role: RolePlan(slots=1, parallel=2, most=1) for role in ("policy", "completer")}
    return UnbegunSchedule(ROAD, 4, {}, roles, {"engines": slots}, window=4)


def opened(of: UnbegunSchedule) -> Mapping[str, int]:
    actions = of.decide()
    assert all(isinstance(action, Open) for action in actions), "a shard was given out"
    return {action.role: action.worker for action in actions if isinstance(action, Open)}


def test_no_shard_is_given_out_before_an_engine_of_each_role_is_open() -> None:
    made = schedule(slots=2)
    workers = opened(made)
    assert made.holding() is None
    made.opened(workers["policy"])
    workers = opened(made)
    assert made.holding() == {workers["completer"]}
    made.opened(workers["completer"])
    assert opened(made) == {}
    assert made.holding() == set()
    made.begin()
    assert Counter(type(action).__name__ for action in made.decide()) == {"Run": 2}


def test_where_roles_take_turns_the_first_one_is_enough() -> None:
    made = schedule(slots=1)
    made.opened(opened(made)["policy"])
    assert opened(made) == {}
    assert made.holding() == set()


def test_an_engine_that_was_lost_at_its_start_is_opened_again_when_its_work_arrives() -> None:
    made = schedule(slots=2)
    made.opened(opened(made)["policy"])
    made.lost(opened(made)["completer"], "its node is gone")
    assert opened(made) == {}
    assert made.holding() == set()


class Refusing(here.Here):
    """A cluster on which one role's engine can't be opened."""

    refused = "completer"

    async def open(self, worker: int, role: str) -> None:
        if role == self.refused:
            raise EngineRefused("dtype float31 is not known")
        await super().open(worker, role)


def test_a_refused_engine_leaves_nothing_and_the_corrected_file_builds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here.work_here(monkeypatch)
    # As many slots as engines: the second is opened before the first shard.
    local = {**MODELS, "completer": MODELS["completer"]}
    config = configure(tmp_path, stages=STAGES, models=local)
    store = open_store(config.store)

    def complete(site: Any, made: Run, config: Any, start: Any = None) -> None:
        monkeypatch.setattr("workflows.runs.driving.engine_slots", lambda config, role: 1)
        cluster = Refusing(made, config, start)
        begin = start.store
        asyncio.run(continue_run(made, config, cluster, 2, lambda event: None, begin=begin))

    with monkeypatch.context() as patched:
        patched.setattr("workflows.runs.site.Site.complete", complete)
        with pytest.raises(EngineRefused, match=r"models\.completer: dtype float31"):
            run(config)
    assert [entry.key for entry in store.list("runs/")] == []
    corrected = configure(tmp_path, stages=STAGES | {"seed": 7}, models=local)
    assert audit(run(corrected)).findings == ()


def test_of_two_starts_under_one_name_the_first_to_be_stored_decides(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here.work_here(monkeypatch)
    ours = configure(tmp_path, stages=STAGES, models=MODELS)
    theirs = configure(tmp_path, stages=STAGES | {"seed": 7}, models=MODELS)
    store = open_store(ours.store)
    start = start_of(ours, store, planned(ours, None))
    run(theirs)  # begins and ends while our engines open
    with pytest.raises(SpecMismatch, match=r"stages\.seed"):
        here.complete(None, start.run, ours, start)
    stored = Run.open(store, "r")
    assert stored.spec.fingerprint != start.run.spec.fingerprint
    launched = json.loads(store.get("runs/r/launch.json"))
    assert launched["stages"]["seed"] == 7
    assert audit(stored).findings == ()


def test_solutions_that_were_given_are_stored_at_the_beginning_and_are_no_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here.work_here(monkeypatch)
    stages = {**STAGES, "road": ["sample", "inject", "consensus", "export"],
              "inject": {"trust": "all"}, "consensus": {"sources": ["injected"]}}  # fmt: skip
    config = configure(tmp_path, stages=stages, models={}, solutions="problems.jsonl")
    made = run(config)
    assert audit(made).findings == ()
    assert made.totals("given").rows == made.totals("problems").rows


def test_a_ceiling_does_not_ask_for_what_is_not_stored_yet(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here.work_here(monkeypatch)
    stages = {**STAGES, "road": ["sample", "estimate", "label", "consensus", "export"]}
    config = configure(
        tmp_path, stages=stages, models={"completer": MODELS["completer"]},
        solutions="problems.jsonl", limits={"tokens": 10**9},
    )  # fmt: skip
    assert audit(run(config)).findings == ()
