"""A build's own pilot, made before the build where its labels need one and none is named.

Invariant: nothing of the build is stored before its pilot is finished; a pilot that was
interrupted is continued by the same command, one that is finished is used as it is.
"""

from __future__ import annotations

from rich.console import Console

from launch.cluster.site import Site
from launch.preflight import require
from storage.objects.opening import open_store
from storage.runs.pilot_record import pilot_record
from storage.runs.run import Run
from workflows.builds.build import finish, start_run
from workflows.builds.configuration import BuildConfig
from workflows.builds.own_pilot import own_pilot
from workflows.builds.wiring import makers
from workflows.estimation.pilot import needs_chain


def make_pilot(config: BuildConfig, site: Site) -> None:
    """Make or finish the own pilot of a configuration whose pilot is named.

    Nothing where another is named, where the run has its chain already, or where it needs none.
    """
    store = open_store(config.store)
    if not needs_chain(config.stages) or pilot_record(store, config.run) is not None:
        return
    own = own_pilot(config)
    if config.stages.estimate.pilot != own.run:
        return
    begun = Run.find(store, own.run)
    if begun is not None and begun.success() is not None:
        return
    require(own, site)
    said = f"run {config.run} needs a pilot: run {own.run} is made first"
    Console(stderr=True).print(said, highlight=False)
    pilot = start_run(own, store, None)
    site.complete(pilot, own, makers)
    finish(pilot)
