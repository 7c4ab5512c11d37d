"""The verbs `build` and `resume`: preflight, cluster, progress, and the summary at the end.

Invariant: nothing is written before preflight has passed; Ctrl-C and SIGTERM stop the work, close
every worker and leave a run that the same command continues.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sys
from collections.abc import Iterator, Mapping

from rich.console import Console

from actors.ray_cluster import RayCluster, ray_session, slots_of_cluster
from launch.config import validate
from launch.preflight import is_remote, require
from launch.progress import BuildProgress
from launch.status import run_status, show_status
from storage.runs import Run
from storage.stores import open_store
from workflows.build import (
    continue_run,
    finish,
    standing,
    start_run,
    stored_configuration,
)
from workflows.configuration import BuildConfig
from workflows.drive import SlotsNow
from workflows.placement import ENGINES
from workflows.road import MODEL_ROLES, STAGE_NAMES
from workflows.stages import makers, placements

METERS_EVERY_SECONDS = 1.0


def build_run(config: BuildConfig, address: str | None) -> None:
    """Start or continue the run of a configuration, to its end."""
    image = require(config, address)
    _work(start_run(config, open_store(config.store), image), config, address)


def resume_run(name: str, store: str, address: str | None) -> None:
    """Continue a run from its store alone."""
    opened = open_store(store)
    run = Run.open(opened, name)
    config = validate(
        {**stored_configuration(opened, name), "store": store, "run": name}, f"run {name}"
    )
    require(config, address, input_too=False)
    run.check_input()
    _work(run, config, address)


def _work(run: Run, config: BuildConfig, address: str | None) -> None:
    if run.success() is None:
        if not standing(run).finished:
            try:
                with _terminable():
                    _build(run, config, address)
            except KeyboardInterrupt:
                Console(stderr=True).print(
                    f"stepmill: interrupted; the same command continues run {run.name}",
                    highlight=False,
                    soft_wrap=True,
                )
                raise
        finish(run)
    show_status(run_status(run))
    Console(stderr=True).print(
        f"run {run.name} is finished: `stepmill download {run.name} FOLDER` copies its dataset",
        highlight=False,
    )


def _build(run: Run, config: BuildConfig, address: str | None) -> None:
    sandbox_actors = config.cluster.sandbox_actors
    with ray_session(address or config.cluster.ray_address, sandbox_actors) as gpus:
        fixed = config.cluster.engine_slots
        slots = {ENGINES: fixed} if fixed else slots_of_cluster(MODEL_ROLES)
        cluster = RayCluster(
            makers(run, config), placements(config, gpus, slots), config.sandbox, sandbox_actors
        )
        found = standing(run)
        before = {stage: len(shards) for stage, shards in found.done.items()}
        later = None if fixed or not is_remote(config, address) else slots_now
        with BuildProgress(run.name, STAGE_NAMES, found.shards, before) as progress:
            try:
                asyncio.run(_drive(run, config, cluster, slots, later, progress))
            except asyncio.CancelledError:
                raise KeyboardInterrupt from None


def slots_now() -> Mapping[str, int]:
    """The slots of the cluster that was joined."""
    return slots_of_cluster(MODEL_ROLES)


async def _drive(
    run: Run,
    config: BuildConfig,
    cluster: RayCluster,
    slots: Mapping[str, int],
    later: SlotsNow | None,
    progress: BuildProgress,
) -> None:
    async def watch_meters() -> None:
        while True:
            await asyncio.sleep(METERS_EVERY_SECONDS)
            progress.meters(await cluster.progress())

    here = asyncio.current_task()
    assert here is not None
    # Ray set a handler of its own, which would end the process before its workers are closed.
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, here.cancel)
    watching = asyncio.create_task(watch_meters())
    try:
        await continue_run(run, config, cluster, slots, progress.happened, later)
    finally:
        watching.cancel()
        await cluster.shutdown()


@contextlib.contextmanager
def _terminable() -> Iterator[None]:
    """Let SIGTERM stop the work as Ctrl-C does."""

    def interrupt(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
        sys.stderr.flush()
