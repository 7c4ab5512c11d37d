"""A whole scripted build on real Ray actors of one machine, with a worker and a driver killed."""

from __future__ import annotations

import asyncio
import re
import signal
from pathlib import Path

import pytest

from launch.config import load
from storage.audit import audit
from storage.objects.opening import open_store
from storage.runs.run import Run
from tests.support.ray_build import Ended, digests, drive
from tests.support.scripted_build import Build, configure
from workflows.runs.starting import start_run
from workflows.stages import STAGE_NAMES

pytestmark = [pytest.mark.fault]


@pytest.fixture(scope="module")
def quiet(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[int, str]]:
    """Digests of a build in one process, without Ray and without trouble."""
    build = Build(configure(tmp_path_factory.mktemp("quiet")))
    asyncio.run(build.work())
    return digests(build.run)


def started(folder: Path) -> tuple[Run, Path]:
    store = f"file:{folder}/store"
    config = configure(folder, store=store, cluster={"retry_pause_s": 0.5})
    return start_run(config, open_store(config.store), None), folder / "build.yaml"


def test_a_worker_killed_between_data_and_commit_is_replaced_and_only_its_shards_are_redone(
    tmp_path: Path, quiet: dict[str, dict[int, str]]
) -> None:
    run, config = started(tmp_path / "run")
    ended = drive(config, fault=f"after_data@estimate/1=kill-once:{tmp_path / 'killed'}")
    assert ended.code == 0
    assert (tmp_path / "killed").exists()
    assert ended.shards("lost") == [("estimate", ended.shards("lost")[0][1])]
    committed = ended.shards("committed")
    assert sorted(committed) == sorted((s, i) for s in STAGE_NAMES for i in quiet["sample"])
    for before, shard in enumerate(committed):
        assert shard not in [
            (stage, number)
            for said, stage, number, _ in ended.events[_at(ended, before) :]
            if said == "started"
        ], "a committed shard was started again"
    assert digests(run) == quiet
    result = audit(run)
    assert (result.findings, result.finished) == ((), True)


def _at(ended: Ended, number: int) -> int:
    """Where the `number`-th commit stands among the events."""
    commits = [i for i, event in enumerate(ended.events) if event[0] == "committed"]
    return commits[number]


def test_a_driver_killed_in_the_middle_is_continued_with_the_same_bytes_and_nothing_repeated(
    tmp_path: Path, quiet: dict[str, dict[int, str]]
) -> None:
    run, config = started(tmp_path / "run")
    first = drive(config, "--die-after", "9")
    assert first.code == -signal.SIGKILL
    assert len(first.shards("committed")) == 9
    stands = {(stage, shard) for stage in STAGE_NAMES for shard in run.shards_of(stage)}
    assert set(first.shards("committed")) <= stands
    second = drive(config)
    assert second.code == 0
    assert not set(second.shards("started")) & set(first.shards("committed"))
    assert digests(run) == quiet
    result = audit(run)
    assert (result.findings, result.finished) == ((), True)
    assert load(config).run == run.name


def test_a_list_of_actors_says_who_is_who_with_run_and_node(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    run, config = started(tmp_path / "run")
    ended = drive(config, "--list-after", "6")
    assert ended.code == 0
    shown = [(kind, place) for said, kind, _, place in ended.events if said == "actor"]
    assert {"Sampler", "Completer"} <= {kind for kind, _ in shown}
    names = {"Sampler": "policy", "Completer": "completer", "RationaleWriter": "rationale",
             "Labeller": "cpu"}  # fmt: skip
    for kind, place in shown:
        assert re.fullmatch(rf"{run.name}/{names[kind]}-\d+ on [0-9a-f]+", place)
