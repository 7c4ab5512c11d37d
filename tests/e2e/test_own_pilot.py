"""A build that makes its own pilot, as a person starts it: the pilot, its verdict, the report."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from actors.workers.contract import Processor
from launch.cli.main import run_command
from storage.audit import audit
from storage.objects.opening import open_store
from storage.runs.pilot_record import pilot_record
from storage.runs.run import Run
from tests.support.local_cluster import LocalCluster
from tests.support.scripted_world import (
    InProcessSandbox,
    ScriptedWorld,
    scripted_build,
    world_problems,
    write_problems,
)
from workflows.builds.configuration import BuildConfig
from workflows.estimation.pilot import chain_of, stored_chain
from workflows.runs.driving import continue_run
from workflows.runs.starting import Start
from workflows.runs.workers import StageMaker

PROBLEMS = world_problems(14)
ENOUGH = {"k_hard": 32, "k_medium": 24, "k_easy": 16, "probe": 8}
TOO_FEW = {"k_hard": 16, "k_medium": 12, "k_easy": 8, "probe": 8}
"""After a slip one rollout in ten is right: halves of a pilot with so few often see none, call the
steps behind them wrong, and differ from each other by far less than from any chain's labels."""


class Place:
    """A folder with problems and a store, and the command in it."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder = folder
        self.store = open_store(f"file://{folder}/store")
        self.worked: list[tuple[str, str, int]] = []
        """(run, stage, shard) that was started."""
        self.most: int | None = None
        """Commits after which the work is interrupted."""
        write_problems(PROBLEMS, folder / "problems.jsonl")
        monkeypatch.setattr(
            "workflows.runs.site.Site.complete",
            lambda site, run, config, start=None: self.complete(run, config, start),
        )
        monkeypatch.setattr("workflows.runs.run.require", lambda *given: None)

    def complete(self, run: Run, config: BuildConfig, start: Start | None) -> None:
        """What `workflows.runs.site` does, in this process."""
        chain = None
        if config.stages.needs_chain:
            fitted = start.chain if start else None
            chain = chain_of(fitted) if fitted else stored_chain(run)
        world = ScriptedWorld(PROBLEMS)

        def stages(role: str) -> Mapping[str, Processor]:
            maker = StageMaker(config, run.name, chain)
            if role == "cpu":
                return maker.pure()
            return maker.around(role, world.engine(role), InProcessSandbox())

        cluster, commits = LocalCluster(run, stages), 0

        def watch(event: Any) -> None:
            nonlocal commits
            commits += event.what == "committed"
            if commits == self.most:
                raise KeyboardInterrupt

        try:
            begin = start.store if start else None
            asyncio.run(continue_run(run, config, cluster, 2, watch, begin=begin))
        finally:
            self.worked += [(run.name, *shard) for shard in cluster.worked]

    def build(self, name: str, *more: str, label: Any = None, **estimate: Any) -> int:
        """`stepmill build`; its exit code."""
        config = scripted_build(
            name,
            {"mc_budget": "two_round", **ENOUGH, **estimate},
            label={"estimate": "posterior", **(label or {})},
        )
        file = self.folder / f"{name}.yaml"
        file.write_text(json.dumps(config))
        return run_command(["build", str(file), "--store", self.store.url, *more])

    def run(self, name: str) -> Run:
        return Run.open(self.store, name)

    def pilot_of(self, name: str) -> Run:
        record = pilot_record(self.store, name)
        assert record is not None
        return self.run(record.pilot)

    def runs(self) -> list[str]:
        return sorted({key.split("/")[1] for key, _ in self.store.list("runs/")})


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    return Place(tmp_path, monkeypatch)


def bytes_of(run: Run) -> dict[str, dict[int, str]]:
    return {stage: {c.shard: c.sha256 for c in run.commits(stage)} for stage in run.spec.stages}


def test_a_build_without_a_named_pilot_makes_one_and_reports_what_it_said(
    place: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    assert place.build("two", pilot_paths=60) == 0
    said = capsys.readouterr()
    run, pilot = place.run("two"), place.pilot_of("two")
    assert place.runs() == sorted(["two", pilot.name])
    assert audit(run).findings == audit(pilot).findings == ()
    assert pilot.spec.stages == ("problems", "sample", "estimate")
    estimate = pilot.spec.configuration["stages"]["estimate"]
    assert (estimate["mc_budget"], estimate["k_hard"]) == ("exact", 2 * ENOUGH["k_hard"])
    assert pilot.spec.plan.items == 10  # of 60 paths, 8 a problem, and a quarter more
    record = pilot_record(place.store, "two")
    assert record is not None and record.gate.passed
    assert f"run two needs a pilot: run {pilot.name} is made first" in said.err
    share = f"{record.gate.differs:.1%}"
    sentence = f"labels of `two_round` differ from those of an exact run by {share}"
    # at the end of the build, in the status and in the card
    assert sentence in " ".join(said.out.split())
    assert run_command(["status", "two", "--store", place.store.url, "--json"]) == 0
    status = json.loads(capsys.readouterr().out)
    assert status["pilot"]["gate"]["floor"] == record.gate.floor
    assert status["pilot"]["rollouts"] == pilot.totals("estimate").counts["rollouts"]
    folder = place.folder / "dataset"
    assert run_command(["download", "two", str(folder), "--store", place.store.url]) == 0
    card = (folder / "README.md").read_text()
    assert sentence in card
    assert f"spent {record.rollouts:,} rollouts" in card


def test_a_budget_above_the_noise_of_its_pilot_stops_with_the_numbers_and_leaves_no_run(
    place: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    assert place.build("few", **TOO_FEW) == 2
    said = capsys.readouterr().err
    assert "the pilot says no: labels of `two_round` differ from those of an exact run by 2" in said
    assert "those of two exact runs by 1" in said
    (pilot,) = place.runs()
    made = list(place.worked)
    # Other labels are judged on the same pilot, and nothing of it is made again.
    assert place.build("few", **TOO_FEW, delta=0.2) == 2
    assert place.runs() == [pilot]
    assert place.worked == made
    assert place.build("few", mc_budget="exact_zero_stop", label={"estimate": "counts"}) == 0


def test_an_interrupted_pilot_and_an_interrupted_build_go_on_to_the_same_bytes(
    place: Place, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    interrupted = resumed = 0
    # What is under way when a build is interrupted may still be committed: a pilot of six commits
    # is surely not finished after two such endings at the first one.
    place.most = 1
    ended = place.build("two", pilot_paths=60)
    (pilot,) = place.runs()
    own = ["--store", place.store.url, "--config", str(place.folder / "two.yaml")]
    assert run_command(["resume", pilot, *own]) == 130
    place.most = 2
    while ended == 130:
        interrupted += 1
        assert interrupted < 30
        if interrupted % 2 and "two" in place.runs():
            ended = run_command(["resume", "two", *own])
            resumed += 1
        else:
            ended = place.build("two", pilot_paths=60)
    assert interrupted > 5 and resumed > 1  # the pilot makes 6 commits, the build 24
    whole = Place(tmp_path_factory.mktemp("whole"), monkeypatch)
    assert whole.build("two", pilot_paths=60) == 0
    assert place.runs() == whole.runs()
    for name in whole.runs():
        assert bytes_of(place.run(name)) == bytes_of(whole.run(name))
    assert pilot_record(place.store, "two") == pilot_record(whole.store, "two")
    # A finished run needs its pilot no more.
    for key, _ in place.store.list(f"runs/{place.pilot_of('two').name}/"):
        place.store.delete(key)
    assert place.build("two", pilot_paths=60) == 0


def test_builds_that_differ_in_labels_alone_share_a_pilot(place: Place) -> None:
    assert place.build("two", pilot_paths=60) == 0
    before = list(place.worked)
    assert place.build("derived", "--from", "two", pilot_paths=60, label={"threshold": 0.7}) == 0
    assert place.worked == before  # no model was asked
    assert place.build("adaptive", pilot_paths=60, mc_budget="adaptive") == 0
    assert place.pilot_of("derived").name == place.pilot_of("two").name
    assert place.pilot_of("adaptive").name == place.pilot_of("two").name
    assert sum(run.startswith("pilot-") for run in place.runs()) == 1


def test_posteriors_of_an_exact_run_need_no_other_pilot(
    place: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    exact = {"mc_budget": "exact", "k_hard": 64, "k_medium": 48, "k_easy": 32}
    assert place.build("exact", **exact, label={"estimate": "counts"}) == 0
    before = list(place.worked)
    assert place.build("smooth", "--from", "exact", **exact) == 0
    assert place.pilot_of("smooth").name == "exact"
    assert place.worked == before
    capsys.readouterr()
    assert run_command(["compare", "exact", "smooth", "--store", place.store.url, "--json"]) == 0
    compared = {row["run"]: row for row in json.loads(capsys.readouterr().out)}
    assert compared["exact"]["pilot_rollouts"] == 0
    assert compared["smooth"]["pilot_rollouts"] == compared["exact"]["rollouts"] > 0
    assert run_command(["compare", "exact", "smooth", "--store", place.store.url]) == 0
    assert "rollouts of its pilot" in capsys.readouterr().out


def test_a_grown_run_has_the_pilot_of_the_run_that_it_grew_from(place: Place) -> None:
    assert place.build("two", "--limit", "8", pilot_paths=60) == 0
    assert place.pilot_of("two").spec.plan.items == 8  # of the 10 that 60 paths ask for
    before = place.runs()
    place.worked.clear()
    assert place.build("more", "--from", "two", pilot_paths=60) == 0
    assert place.runs() == sorted([*before, "more"])
    assert place.pilot_of("more").name == place.pilot_of("two").name
    asked = {(run, shard) for run, stage, shard in place.worked if stage in ("sample", "estimate")}
    assert asked == {("more", 2), ("more", 3)}
    assert audit(place.run("more")).findings == ()
