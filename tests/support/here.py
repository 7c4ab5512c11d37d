"""What a cluster would do, done in the thread that asks for it, by workers made as on any node."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from storage.runs.run import Run
from tests.support.local_cluster import LocalCluster
from tests.support.scripted_world import InProcessSandbox
from workflows.runs.checks import Finding
from workflows.runs.configuration import RunConfig
from workflows.runs.driving import continue_run
from workflows.runs.starting import Start
from workflows.runs.workers import makers


class Here(LocalCluster):
    """Workers of a run as its configuration makes them."""

    def __init__(self, run: Run, config: RunConfig, start: Start | None = None) -> None:
        super().__init__(run, lambda role: {}, road=config.road)
        self._makers = makers(run, config, start.chain if start else None)

    async def open(self, worker: int, role: str) -> None:
        """Make a worker."""
        made = self._makers[role](f"{role}-{worker}", InProcessSandbox())
        await made.open()
        self._workers[worker] = made


def complete(site: Any, run: Run, config: RunConfig, start: Start | None = None) -> None:
    """In the place of `Site.complete`."""
    begin = start.store if start else None
    cluster = Here(run, config, start)
    asyncio.run(continue_run(run, config, cluster, 2, lambda event: None, begin=begin))


def work_here(patched: pytest.MonkeyPatch) -> None:
    """Neither Ray nor a sandbox is needed from now on."""
    patched.setattr("workflows.runs.site.Site.complete", complete)
    without_sandbox(patched)


def without_sandbox(patched: pytest.MonkeyPatch) -> None:
    """Checks find a sandbox, whatever is here."""
    well, folder = Finding("sandbox", True, "answers"), SimpleNamespace(digest="d")
    patched.setattr("workflows.runs.checks.check_sandbox", lambda settings: well)
    patched.setattr("workflows.runs.checks.build_root", lambda state: folder)
