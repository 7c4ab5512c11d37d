"""A build to its end: started, continued or found finished, derived or not, its pilot before it.

Where a run is derived and no model is left to ask, neither model, GPU, sandbox nor Ray is needed,
and none is looked for: another label threshold or consensus rule is a matter of this machine and
the store.

Invariant: nothing is written before the checks have passed, nor of a run that can't be derived;
nothing of a build is stored before its own pilot is finished.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace

from actors.stopping import anywhere, awaitable
from storage.errors import NothingFound
from storage.objects.opening import open_store
from storage.objects.store import ObjectStore
from storage.runs.origin import origin_of
from storage.runs.run import Run
from workflows.builds.build import Inputs, check_inputs, create_run, finish, planned
from workflows.builds.configuration import BuildConfig
from workflows.builds.derive import (
    Inherited,
    models_needed,
    plan_derivation,
    start_derived,
    take_over,
)
from workflows.builds.own_pilot import OwnPilot, with_pilot
from workflows.runs.checks import check_image, probed_store, require
from workflows.runs.driving import standing
from workflows.runs.listening import SILENT, Listener
from workflows.runs.settling import recalled
from workflows.runs.site import Site
from workflows.stages.maker import makers


@anywhere
def build(
    config: BuildConfig,
    source: str | None = None,
    *,
    address: str | None = None,
    listener: Listener = SILENT,
) -> Run:
    """Start or continue the run of a configuration, to its end.

    `source`: the run that it takes shards over from, where settings are equal; `address`: a Ray
    cluster to join. Raises UserError before any work, SpecMismatch where the run was started with
    other settings, InfrastructureError.
    """
    store = open_store(config.store)
    begun = Run.find(store, config.run)
    before = None if begun is None else origin_of(begun)
    name = source or (before.run if before else None)
    with Site(config.cluster, address, listener) as site:
        if name is None:
            run = _created(config, site, store, begun)
        else:
            run = _derived(config, site, store, begun, name)
        return _finished(run, config, site)


@anywhere
def derive(
    config: BuildConfig, source: str, *, address: str | None = None, listener: Listener = SILENT
) -> Run:
    """`build`, with the shards taken over from run `source` where settings are equal."""
    return build(config, source, address=address, listener=listener)


build_async = awaitable(build)
derive_async = awaitable(derive)


def continue_build(
    run: Run, config: BuildConfig, address: str | None = None, listener: Listener = SILENT
) -> Run:
    """Continue a run from what its store holds, to its end. Raises as `build`."""
    config = recalled(config, run)
    run.check_input()
    with Site(config.cluster, address, listener) as site:
        _take_over(run, config, site)
        if not standing(run).finished:
            check_image(run, require(config, site))
        return _finished(run, config, site)


def _finished(run: Run, config: BuildConfig, site: Site) -> Run:
    if run.success() is None:
        site.complete(run, site.settled(config, run), makers)
        finish(run)
    return run


def _created(config: BuildConfig, site: Site, store: ObjectStore, begun: Run | None) -> Run:
    """Start the run, or open it."""
    config = recalled(config, begun)
    read: list[Inputs] = []
    if begun is None or not standing(begun).finished:
        image = require(config, site, check_inputs(config, read))
    else:
        image = begun.spec.image_digest  # no code is left to run, in this image or another
    config, own = with_pilot(site.settled(config, begun), begun)
    wanted = planned(config, image, *read)
    for line in wanted.said:
        site.listener.say(line)
    prepare(own, config.run, site, store)
    return create_run(config, store, wanted)


def _derived(
    config: BuildConfig, site: Site, store: ObjectStore, begun: Run | None, name: str
) -> Run:
    """Start the run that is derived from run `name`, or open it, as far as no model is needed.

    Raises NothingFound, SpecMismatch and ConfigurationError.
    """
    source = Run.find(store, name)
    if source is None and (begun is None or origin_of(begun) is None):
        raise NothingFound(f"no run {name!r} in {store.url} to derive run {config.run!r} from")
    known = begun or source
    assert known is not None
    probed_store(config.store)
    config = recalled(config, begun, source)
    config, own = with_pilot(site.settled(config, begun, source), begun, source)
    wanted = planned(config, known.spec.image_digest)
    if begun is None and source is not None:
        plan = plan_derivation(config.run, store.url, wanted.spec, source)
        if models_needed(plan, source):
            image = require(config, site)
            wanted = replace(wanted, spec=replace(wanted.spec, image_digest=image))
    prepare(own, config.run, site, store)
    if source is None:
        run = create_run(config, store, wanted)
    else:
        run = start_derived(config, store, wanted, source)
    _take_over(run, config, site)
    if begun is not None and not standing(run).finished:
        check_image(run, require(config, site))
    return run


def _take_over(run: Run, config: BuildConfig, site: Site) -> None:
    """Take over what is missing of a derived run; nothing to do for any other."""
    origin = origin_of(run)
    if origin is None or standing(run).finished:
        return
    with site.listener.taking_over(run.name, origin.run, run.spec.plan.shards) as show:
        found = asyncio.run(take_over(run, makers(run, config)["cpu"], show))
    if found is None:
        gone = f"run {origin.run} is gone: what run {run.name} has not taken over is made anew"
        site.listener.say(gone)
    else:
        site.listener.say(summary(run, found))


def summary(run: Run, found: Inherited) -> str:
    """What was taken over, made here and left, and the settings that differ."""
    whole = run.spec.plan.shards

    def listed(stages: dict[str, int]) -> str:
        parts = (name if n == whole else f"{name} ({n} of {whole})" for name, n in stages.items())
        return ", ".join(parts) or "nothing"

    left = {
        stage: whole - len(shards)
        for stage, shards in standing(run).done.items()
        if len(shards) < whole
    }
    lines = [
        f"run {run.name} from run {found.source}: taken over {listed(dict(found.adopted))}; "
        f"made here {listed(dict(found.made))}; left to the models {listed(left)}"
    ]
    lines += [f"  differs: {difference}" for difference in found.differing]
    return "\n".join(lines)


def prepare(own: OwnPilot | None, run: str, site: Site, store: ObjectStore) -> None:
    """Make or finish a run's own pilot, or find it finished; nothing where it has none."""
    if own is None:
        return
    begun = Run.find(store, own.config.run)
    if begun is not None and begun.success() is not None:
        return
    require(own.config, site)
    site.listener.say(f"run {run} needs a pilot: run {own.config.run} is made first")
    pilot = create_run(own.config, store, own.planned)
    site.complete(pilot, own.config, makers)
    finish(pilot)
