"""The verbs `build` and `resume`: preflight, the work, and the summary at the end.

Invariant: nothing is written before preflight has passed, and none is asked of a run for which no
model is left to work.
"""

from __future__ import annotations

from rich.console import Console

from launch.cluster.site import Site
from launch.config import store_url, validate
from launch.preflight import check_image, check_problems, require
from launch.verbs.looking.emptiness import why_empty
from launch.verbs.models.refine import resume_refining
from launch.verbs.models.score import resume_scoring
from launch.verbs.runs.derive import continue_derived, derive
from launch.verbs.runs.pilot import make_pilot
from launch.verbs.runs.status import run_status, show_status
from storage.objects.opening import open_store
from storage.runs.layout import DEFAULT_STORE, REFINING, SCORING
from storage.runs.run import Run
from workflows.builds.build import (
    Planned,
    create_run,
    finish,
    planned,
    standing,
    stored_configuration,
)
from workflows.builds.configuration import BuildConfig
from workflows.builds.own_pilot import with_pilot
from workflows.builds.wiring import makers
from workflows.runs.settling import recalled


def build_run(config: BuildConfig, address: str | None, source: str | None = None) -> None:
    """Start or continue the run of a configuration, to its end; `source`: derived from that run."""
    with Site(config.cluster, address) as site:
        run = derive(config, site, source)
        if run is None:
            store = open_store(config.store)
            begun = Run.find(store, config.run)
            config = recalled(config, begun)
            if begun is None or not standing(begun).finished:
                image = require(config, site, check_problems(config))
            else:
                image = begun.spec.image_digest  # no code is left to run, in this image or another
            config = with_pilot(site.settled(config, begun), begun)
            wanted = planned(config, image)
            say_dropped(wanted)
            make_pilot(config, site)
            run = create_run(config, store, wanted)
        _work(run, config, site)


def say_dropped(wanted: Planned) -> None:
    """Name the problems that are left out, where there are any."""
    console = Console(stderr=True, soft_wrap=True)
    for drop in wanted.dropped:
        console.print(
            f"dropped as {drop.reason}: {drop.item} ({drop.detail})", highlight=False, markup=False
        )


def resume_run(name: str, store: str, address: str | None) -> None:
    """Continue a run from its store alone."""
    opened = open_store(store)
    run = Run.open(opened, name)
    raw = {**stored_configuration(opened, name), "store": store, "run": name}
    if run.spec.stages == SCORING:
        return resume_scoring(run, raw, address)
    if run.spec.stages == REFINING:
        return resume_refining(run, raw, address)
    config = recalled(validate(raw, f"run {name}"), run)
    run.check_input()
    continue_derived(run, config)
    with Site(config.cluster, address) as site:
        if not standing(run).finished:
            check_image(run, require(config, site))
        _work(run, config, site)


def _work(run: Run, config: BuildConfig, site: Site) -> None:
    if run.success() is None:
        site.complete(run, site.settled(config, run), makers)
        finish(run)
    show_status(run_status(run))
    where = "" if config.store == store_url(DEFAULT_STORE) else f" --store {config.store}"
    console = Console(stderr=True, soft_wrap=True)
    if (why := why_empty(run)) is not None:
        console.print(
            f"run {run.name} is finished and made 0 rows: {why}; "
            f"`stepmill texts {run.name}{where}` prints the texts that could not be read",
            highlight=False,
        )
        return
    console.print(
        f"run {run.name} is finished: `stepmill download {run.name} FOLDER{where}` copies its "
        f"dataset",
        highlight=False,
    )
