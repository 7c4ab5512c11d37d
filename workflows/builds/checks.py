"""All that a build checks before it writes anything, as findings for `doctor`.

Invariant: nothing of a run is written. What is found here, a build finds as well.
"""

from __future__ import annotations

from collections.abc import Iterator

from storage.errors import NothingFound, StepmillError
from storage.objects.opening import open_store
from storage.runs.origin import origin_of
from storage.runs.run import Run
from storage.runs.specs import check_same
from workflows.builds.configuration import BuildConfig
from workflows.builds.derive import plan_derivation
from workflows.builds.growth import refuse_growth
from workflows.builds.run import check_input
from workflows.runs.checks import Finding, attempt, examined, run_there
from workflows.runs.configuration import Given
from workflows.runs.driving import standing
from workflows.runs.settling import recalled
from workflows.runs.site import Site
from workflows.runs.starting import differing, planned


def every_finding(config: BuildConfig, source: str | None, site: Site) -> Iterator[Finding]:
    """Check all that a build needs, also where the first checks fail.

    `source`: the run to derive from. A cluster is joined and looked at as it is now.
    """
    begun, refused = run_there(config)
    read: list[Given] = []
    earlier = [*([refused] if refused else []), *check_input(config, read)]
    well = True
    try:
        for finding in examined(recalled(config, begun), site, *earlier, anyway=True):
            well = well and finding.ok
            yield finding
    except StepmillError as error:
        yield Finding("cluster", False, str(error), "see `stepmill docs cluster`")
        return
    if well:
        yield attempt("run", lambda: _of_the_run(config, begun, source, read[0], site))


def _of_the_run(
    config: BuildConfig, begun: Run | None, source: str | None, given: Given, site: Site
) -> str:
    """What would become of the run. Raises NothingFound, SpecMismatch and ConfigurationError."""
    store = open_store(config.store)
    before = None if begun is None else origin_of(begun)
    name = source or (before.run if before else None)
    other = Run.find(store, name) if name else None
    if source and other is None and begun is None:
        raise NothingFound(f"no run {source!r} in {store.url} to derive run {config.run!r} from")
    known = begun or other
    settled = site.settled(recalled(config, begun, other), begun, other)
    chosen, pilot = settled.with_pilot(begun, other)
    image, cuts = (known.spec.image_digest, known.spec.plan) if known else (None, None)
    plan = planned(chosen, image, given, cuts)
    first = f"; its pilot {pilot.run} is made first (or name one: estimate.pilot)" if pilot else ""
    if begun is not None:
        refuse_growth(begun, given)
        check_same(config.run, begun.spec, plan.spec, differing)
        state = "is finished" if standing(begun).finished else "goes on where it stopped"
        return f"{config.run} {state}"
    if other is not None:
        plan_derivation(config.run, store.url, plan.spec, other)
        return f"{config.run} is new, and takes over what it can of {other.name}{first}"
    shards = plan.spec.plan.shards
    return f"{config.run} is new, of {shards:,} shard{'s' if shards > 1 else ''}{first}"
