"""Brings a run of any road to its end: starts it, continues it or finds it finished.

Invariant: the driver writes nothing before the checks have passed. It writes nothing of a new run
before the run's pilot is finished and the first engines are open. It lists the commits to learn
what is left.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from actors.stopping import anywhere, awaitable
from storage.datasets.dataset import assemble
from storage.errors import NothingFound, RunStopped
from storage.objects.opening import open_store
from storage.objects.store import ObjectStore
from storage.rows.kinds import EXAMPLES
from storage.runs.layout import run_prefix
from storage.runs.removal import obeyed
from storage.runs.run import Run
from storage.runs.success import Success
from workflows.runs.checks import Finding, check_image, require, run_there
from workflows.runs.configuration import Given, RunConfig
from workflows.runs.driving import standing
from workflows.runs.listening import SILENT, Listener
from workflows.runs.settling import recalled
from workflows.runs.site import Site
from workflows.runs.starting import Start, create_run, planned, start_of
from workflows.stages import described


@anywhere
def run(
    config: RunConfig,
    rows: Sequence[Any] | None = None,
    *,
    address: str | None = None,
    listener: Listener = SILENT,
) -> Run:
    """Start the run of a configuration, continue it, or find it finished.

    `rows`: the input, instead of the file that the configuration names. `address`: a Ray cluster to
    join. Raises UserError before any work, SpecMismatch where the run was started with other
    settings, and InfrastructureError.
    """
    with Site(config.cluster, address, listener, config) as site:
        return run_at(site, config, rows)


run_async = awaitable(run)


def run_at(
    site: Site, config: RunConfig, rows: Sequence[Any] | Given | None = None, *findings: Finding
) -> Run:
    """As `run`, at an open site; `findings`: checks that the caller has made."""
    begun, refused = run_there(config)
    config = recalled(config, begun)
    if refused is not None:
        require(config, site, refused, *findings)
    store = open_store(config.store)
    if begun is None or not standing(begun).finished:
        image = require(config, site, *findings)
    else:
        image = begun.spec.image_digest  # no code is left to run, in this image or another
    config, pilot = site.settled(config, begun).with_pilot(begun)
    plan = planned(config, image, rows)
    for line in plan.given.said:
        site.listener.say(line)
    prepare(pilot, config.run, site, store)
    if begun is None:
        return finished_new(start_of(config, store, plan), site)
    return finished(create_run(config, store, plan), config, site)


def prepare(pilot: RunConfig | None, run: str, site: Site, store: ObjectStore) -> None:
    """Bring the pilot of a run to its end; nothing to do where `pilot` is None."""
    if pilot is None:
        return
    begun = Run.find(store, pilot.run)
    if begun is None or begun.success() is None:
        site.listener.say(f"run {run} needs a pilot: run {pilot.run} is made first")
        run_at(site, pilot)


def continue_at(site: Site, run: Run, config: RunConfig) -> Run:
    """Continue a run from its commits to its end. Raises as `run`."""
    if not standing(run).finished:
        check_image(run, require(config, site))
    return finished(run, config, site)


def finished(run: Run, config: RunConfig, site: Site) -> Run:
    """Make the shards that a run lacks, and seal the run."""
    with obeyed(run.store, run_prefix(run.name)):
        if run.success() is None:
            site.complete(run, site.settled(config, run))
            finish(run)
    return run


def finished_new(start: Start, site: Site) -> Run:
    """Begin a run once its first engines are open, make all its shards, and seal it."""
    run = start.run
    with obeyed(run.store, run_prefix(run.name)):
        site.complete(run, start.config, start)
        finish(run)
    return run


def finish(run: Run) -> Success:
    """Seal a run whose shards are made, and write its dataset if its road makes one.

    Repeating it changes nothing. Raises Removed where the run was removed, and RunStopped where a
    commit is gone.
    """
    with obeyed(run.store, run_prefix(run.name)):
        try:
            success = run.finish()
        except NothingFound as error:
            raise RunStopped(str(error)) from None
        if EXAMPLES.stage in run.spec.stages:
            assemble(run, stages=described(run.spec.stages))
    return success
