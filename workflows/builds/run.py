"""A build to its end: started, continued or found finished, derived from another or not.

Where a run is derived and no model is left to ask, neither model, GPU, sandbox nor Ray is needed,
and none is looked for: another label threshold or consensus rule is a matter of this machine and
the store.

Invariant: nothing is written of a run that can't be derived.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import replace

from pydantic import TypeAdapter

from actors.stopping import anywhere, awaitable
from storage.errors import NothingFound
from storage.objects.opening import open_store
from storage.objects.store import ObjectStore
from storage.rows.kinds import PROBLEMS, REFINING, SCORING
from storage.runs.origin import origin_of
from storage.runs.run import Run
from workflows.builds.configuration import BuildConfig
from workflows.builds.derive import (
    Inherited,
    models_needed,
    plan_derivation,
    start_derived,
    take_over,
)
from workflows.refinement.run import RefineConfig
from workflows.runs.checks import Finding, attempt, probed_store, require
from workflows.runs.configuration import Given, RunConfig
from workflows.runs.driving import standing
from workflows.runs.listening import SILENT, Listener
from workflows.runs.reading import validated
from workflows.runs.run import continue_at, finished, prepare, run_at
from workflows.runs.settling import recalled
from workflows.runs.site import Site
from workflows.runs.starting import create_run, planned, stored_configuration
from workflows.runs.workers import makers
from workflows.scoring.settings import ScoreConfig

KINDS: Mapping[tuple[str, ...], type[RunConfig]] = {SCORING: ScoreConfig, REFINING: RefineConfig}
"""Road of a run -> its configuration; those of all other roads are builds."""


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
            read: list[Given] = []
            found = check_files(config, read)
            return run_at(site, config, read[0] if read else None, found)
        return _derived(site, config, store, begun, name)


@anywhere
def derive(
    config: BuildConfig, source: str, *, address: str | None = None, listener: Listener = SILENT
) -> Run:
    """`build`, with the shards taken over from run `source` where settings are equal."""
    return build(config, source, address=address, listener=listener)


build_async = awaitable(build)
derive_async = awaitable(derive)


@anywhere
def resume(
    name: str, store: str, *, address: str | None = None, listener: Listener = SILENT
) -> Run:
    """Continue a run of any kind from what its store holds, to its end. Raises as `build`."""
    opened = open_store(store)
    run = Run.open(opened, name)
    raw = {**stored_configuration(opened, name), "store": store, "run": name}
    kind = KINDS.get(run.spec.stages, BuildConfig)
    config: RunConfig = recalled(validated(TypeAdapter(kind), raw, f"run {name}"), run)
    run.check_input()
    with Site(config.cluster, address, listener) as site:
        _take_over(run, config, site)
        return continue_at(site, run, config)


def check_files(config: BuildConfig, read: list[Given] | None = None) -> Finding:
    """Whether problems and solutions can be read; appends them to `read`."""

    def look() -> str:
        given = config.read_input()
        if read is not None:
            read.append(given)
        left_out = f", {len(given.drops):,} left out" if given.drops else ""
        solved = f", {len(given.solutions):,} with solutions" if given.solutions else ""
        return f"{len(given.rows):,} in {config.problems}{left_out}{solved}"

    return attempt(PROBLEMS.stage, look, "stepmill problems FILE says more of a file")


def _derived(
    site: Site, config: BuildConfig, store: ObjectStore, begun: Run | None, name: str
) -> Run:
    """`build` of a run that is derived from run `name`.

    Raises NothingFound, SpecMismatch and ConfigurationError.
    """
    source = Run.find(store, name)
    if source is None and (begun is None or origin_of(begun) is None):
        raise NothingFound(f"no run {name!r} in {store.url} to derive run {config.run!r} from")
    known = begun or source
    assert known is not None
    probed_store(config.store)
    config = recalled(config, begun, source)
    config, pilot = site.settled(config, begun, source).with_pilot(begun, source)
    wanted = planned(config, known.spec.image_digest)
    if begun is None and source is not None:
        plan = plan_derivation(config.run, store.url, wanted.spec, source)
        if models_needed(plan, source):
            image = require(config, site)
            wanted = replace(wanted, spec=replace(wanted.spec, image_digest=image))
    prepare(pilot, config.run, site, store)
    if source is None:
        run = create_run(config, store, wanted)
    else:
        run = start_derived(config, store, wanted, source)
    _take_over(run, config, site)
    return finished(run, config, site) if begun is None else continue_at(site, run, config)


def _take_over(run: Run, config: RunConfig, site: Site) -> None:
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
