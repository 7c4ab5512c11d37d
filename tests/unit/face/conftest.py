"""A cluster for the calls of the face."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import pytest

import stepmill
from actors.workers.contract import Processor
from storage.runs.run import Run
from tests.support.local_cluster import LocalCluster
from tests.support.scripted_build import GIVEN
from tests.support.scripted_world import InProcessSandbox, ScriptedWorld
from workflows.runs.driving import continue_run
from workflows.runs.starting import Start
from workflows.runs.workers import StageMaker


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a cluster would do is done in the thread that asks for it; nothing is looked at."""

    def complete(
        site: Any, run: Run, config: stepmill.BuildConfig, start: Start | None = None
    ) -> None:
        world = ScriptedWorld(GIVEN)

        def stages(role: str) -> Mapping[str, Processor]:
            maker = StageMaker(config, run.name)
            if role == "cpu":
                return maker.pure()
            return maker.around(role, world.engine(role), InProcessSandbox())

        cluster = LocalCluster(run, stages)
        begin = start.store if start else None
        asyncio.run(continue_run(run, config, cluster, 2, lambda event: None, begin=begin))

    monkeypatch.setattr("workflows.runs.site.Site.complete", complete)
    monkeypatch.setattr("workflows.runs.run.require", lambda *given: None)
