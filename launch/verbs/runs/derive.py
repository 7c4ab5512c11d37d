"""`build --from RUN`: a new run that takes over another's shards as far as settings are equal.

Where no model is left to ask, neither model, GPU, sandbox nor Ray is needed, and none is looked
for: another label threshold or consensus rule is a matter of this machine and the store.

Invariant: nothing is written of a run that can't be derived, and what is taken over, made here or
left to the models is said.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from launch.cluster.site import Site
from launch.preflight import check_image, probed_store, require
from launch.verbs.runs.pilot import make_pilot
from storage.errors import NothingFound
from storage.objects.opening import open_store
from storage.runs.origin import origin_of
from storage.runs.run import Run
from workflows.builds.build import create_run, planned, standing
from workflows.builds.configuration import BuildConfig
from workflows.builds.derive import (
    Inherited,
    models_needed,
    plan_derivation,
    start_derived,
    take_over,
)
from workflows.builds.own_pilot import with_pilot
from workflows.builds.wiring import makers
from workflows.runs.settling import recalled


def derive(config: BuildConfig, site: Site, asked: str | None) -> Run | None:
    """Start or continue the derived run of a configuration, as far as no model is needed.

    `asked` is the run after `--from`; None: the one that the run was derived from before. Returns
    None where there is neither. Raises NothingFound, SpecMismatch and ConfigurationError.
    """
    store = open_store(config.store)
    begun = Run.find(store, config.run)
    before = None if begun is None else origin_of(begun)
    name = asked or (before.run if before else None)
    if name is None:
        return None
    source = Run.find(store, name)
    if source is None and before is None:
        raise NothingFound(f"no run {name!r} in {store.url} to derive run {config.run!r} from")
    known = begun or source
    assert known is not None
    probed_store(config.store)
    config = recalled(config, begun, source)
    config = with_pilot(site.settled(config, begun, source), begun, source)
    wanted = planned(config, known.spec.image_digest)
    if begun is None and source is not None:
        plan = plan_derivation(config.run, store.url, wanted.spec, source)
        if models_needed(plan, source):
            image = require(config, site)
            wanted = replace(wanted, spec=replace(wanted.spec, image_digest=image))
    make_pilot(config, site)
    if source is None:
        run = create_run(config, store, wanted)
    else:
        run = start_derived(config, store, wanted, source)
    continue_derived(run, config)
    if begun is not None and not standing(run).finished:
        check_image(run, require(config, site))
    return run


def continue_derived(run: Run, config: BuildConfig) -> None:
    """Take over what is missing of a derived run; nothing to do for any other."""
    origin = origin_of(run)
    if origin is None or standing(run).finished:
        return
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task(f"{run.name} from {origin.run}", total=run.spec.plan.shards)

        def show(done: int, shards: int) -> None:
            bar.update(task, completed=done)

        found = asyncio.run(take_over(run, makers(run, config)["cpu"], show))
    if found is None:
        console.print(
            f"run {origin.run} is gone: what run {run.name} has not taken over is made anew",
            highlight=False,
            soft_wrap=True,
        )
    else:
        console.print(summary(run, found), highlight=False, soft_wrap=True)


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
