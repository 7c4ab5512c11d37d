"""Brings a build to its end: starts it, continues it or finds it finished, derived or not.

Where a derived run needs no model, the driver looks for no model, GPU, sandbox or Ray. Another
label threshold or consensus rule needs this machine and the store only.

Invariant: the driver writes nothing of a run that can't be derived.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace

from actors.stopping import anywhere, awaitable
from storage.errors import Removed
from storage.objects.opening import open_store
from storage.objects.store import ObjectStore
from storage.rows.kinds import PROBLEMS
from storage.runs.names import nothing_named
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
from workflows.builds.growth import OF_THE_INPUT, refuse_growth, same_input
from workflows.runs.checks import Finding, attempt, probed_at, require, run_there
from workflows.runs.configuration import Given, RunConfig
from workflows.runs.driving import standing
from workflows.runs.listening import SILENT, Listener
from workflows.runs.run import continue_at, finished, prepare, run_at
from workflows.runs.settling import recalled
from workflows.runs.site import Site
from workflows.runs.starting import create_run, planned
from workflows.runs.workers import makers


@anywhere
def build(
    config: BuildConfig,
    source: str | None = None,
    *,
    address: str | None = None,
    listener: Listener = SILENT,
) -> Run:
    """Start or continue the run of a configuration, to its end.

    `source`: the run whose shards it copies where settings are equal. `address`: a Ray cluster to
    join. Raises UserError before any work, SpecMismatch where the run was started with other
    settings, and InfrastructureError.
    """
    with Site(config.cluster, address, listener, config) as site:
        begun, refused = run_there(config)
        if refused is not None:
            require(config, site, refused, *check_input(config))
        before = None if begun is None else origin_of(begun)
        name = source or (before.run if before else None)
        if name is None:
            read: list[Given] = []
            findings = check_input(config, read)
            if begun is not None and read:
                refuse_growth(begun, read[0])
            return run_at(site, config, read[0] if read else None, *findings)
        return _derived(site, config, open_store(config.store), begun, name)


@anywhere
def derive(
    config: BuildConfig, source: str, *, address: str | None = None, listener: Listener = SILENT
) -> Run:
    """As `build`, with the shards of run `source` copied where settings are equal."""
    return build(config, source, address=address, listener=listener)


build_async = awaitable(build)
derive_async = awaitable(derive)


def check_input(config: BuildConfig, read: list[Given] | None = None) -> list[Finding]:
    """Check that the input can be read and that the settings agree; append the input to `read`."""
    given: list[Given] = [] if read is None else read

    def look() -> str:
        given.append(config.read_input())
        (here,) = given
        left_out = f", {len(here.drops):,} left out" if here.drops else ""
        solved = f", {len(here.solutions):,} with solutions" if here.solutions else ""
        said = "".join(f"; {line}" for line in here.said)
        return f"{len(here.rows):,} in {config.problems}{left_out}{solved}{said}"

    def agree() -> str:
        _with_a_pilot(config).check_input(given[0] if given else Given(()))
        return "agree with each other, the road and the problems"

    problems = attempt(PROBLEMS.stage, look, "stepmill problems FILE says more of a file")
    settings = attempt("settings", agree)
    return [problems, settings]


def _with_a_pilot(config: BuildConfig) -> BuildConfig:
    """The configuration as it is once its pilot has a name, which takes reading the input."""
    estimate = config.stages.estimate
    if not config.stages.needs_chain or estimate.pilot is not None:
        return config
    named = replace(config.stages, estimate=replace(estimate, pilot=config.run))
    return replace(config, stages=named)


def _derived(
    site: Site, config: BuildConfig, store: ObjectStore, begun: Run | None, name: str
) -> Run:
    """Build a run that derives from run `name`, to its end.

    Raises NothingFound, SpecMismatch and ConfigurationError.
    """
    try:
        source = Run.find(store, name)
    except Removed:
        if begun is None:
            raise
        source = None
    if source is None and (begun is None or origin_of(begun) is None):
        raise nothing_named(store, name)
    known = begun or source
    assert known is not None
    probed_at(site, config.store)
    config = recalled(config, begun, source)
    config, pilot = site.settled(config, begun, source).with_pilot(begun, source)
    plan = planned(config, known.spec.image_digest, before=known.spec.plan)
    if begun is not None:
        refuse_growth(begun, plan.given)
    elif source is not None:
        derivation = plan_derivation(config.run, store.url, plan.spec, source)
        if models_needed(derivation, source, same_input(plan, source)):
            image = require(config, site)
            plan = replace(plan, spec=replace(plan.spec, image_digest=image))
    prepare(pilot, config.run, site, store)
    if source is None:
        run = create_run(config, store, plan)
    else:
        run = start_derived(config, store, plan, source)
    inherit(run, config, site)
    return finished(run, config, site) if begun is None else continue_at(site, run, config)


def inherit(run: Run, config: RunConfig, site: Site) -> None:
    """Copy the shards that a derived run lacks and may copy; nothing to do for other runs."""
    origin = origin_of(run)
    if origin is None or standing(run).finished:
        return
    with site.listener.taking_over(run.name, origin.run, run.spec.plan.shards) as show:
        inherited = asyncio.run(take_over(run, makers(run, config)["cpu"], show))
    if inherited is None:
        gone = f"run {origin.run} is gone: what run {run.name} has not taken over is made anew"
        site.listener.say(gone)
    else:
        site.listener.say(summary(run, inherited))


def summary(run: Run, inherited: Inherited) -> str:
    """Lines for the user: stages copied, made here and left, and the settings that differ."""
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
        f"run {run.name} from run {inherited.source}: "
        f"taken over {listed(dict(inherited.adopted))}; "
        f"made here {listed(dict(inherited.made))}; left to the models {listed(left)}"
    ]
    lines += [
        f"  differs: {difference}"
        for difference in inherited.differing
        if difference.name not in OF_THE_INPUT or difference.name == "plan.items"
    ]
    return "\n".join(lines)
