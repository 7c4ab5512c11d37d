"""Continues a run of any kind from what its store holds, without its input and its configuration.

Invariant: nothing is done before what the store says of the run has been checked against its spec,
and refused where it is the caller's to say (`workflows.builds.trust`).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from actors.stopping import anywhere
from storage.objects.opening import open_store
from storage.rows.kinds import REFINING, SCORING, SOLVING
from storage.runs.layout import launch_key
from storage.runs.run import Run
from workflows.builds.configuration import BuildConfig
from workflows.builds.run import inherit
from workflows.builds.trust import check_engines, check_stored, harmless, located, with_own
from workflows.formats.prompt_files import check_texts
from workflows.refinement.run import RefineConfig
from workflows.runs.configuration import RunConfig
from workflows.runs.driving import standing
from workflows.runs.listening import SILENT, Listener
from workflows.runs.reading import validated
from workflows.runs.run import continue_at
from workflows.runs.settling import recalled
from workflows.runs.site import Site
from workflows.runs.starting import stored_configuration
from workflows.scoring.settings import ScoreConfig
from workflows.solving.settings import SolveConfig

KINDS: Mapping[tuple[str, ...], type[RunConfig]] = {
    SCORING: ScoreConfig, REFINING: RefineConfig, SOLVING: SolveConfig,
}  # fmt: skip
"""Road of a run -> the class of its configuration; runs with another road are builds."""


@anywhere
def resume(
    name: str,
    store: str,
    *,
    own: Mapping[str, Any] | None = None,
    models: Path | None = None,
    address: str | None = None,
    listener: Listener = SILENT,
) -> Run:
    """Continue a run of any kind from what its store holds, to its end.

    `own`: the caller's `models`, `sandbox`, `cluster` and `report_to`, unvalidated. `models`: a
    folder that holds the run's models. Raises ConfigurationError for what the store may not say,
    SpecMismatch where the spec says otherwise, and as `build`.
    """
    run = Run.open(open_store(store), name)
    config = _configuration(run, store, own, address, listener)
    run.check_input()
    with Site(config.cluster, address, listener, config) as site:
        if not standing(run).finished:
            check_stored(run, config, ())
            inherit(run, config, site)
        if roles := _roles_left(run, config):
            if own is None:
                check_engines(config, run.store.url, roles)
            config = recalled(located(config, run, roles, models), run)
            config = site.settled(config, run)
            check_stored(run, config, roles)
        return continue_at(site, run, config)


def _configuration(
    run: Run,
    store: str,
    own: Mapping[str, Any] | None,
    address: str | None,
    listener: Listener,
) -> RunConfig:
    """What the run was started with, with the caller's parts. Raises ConfigurationError."""
    raw = with_own(stored_configuration(run.store, run.name), own, run.spec.configuration)
    kind = KINDS.get(run.spec.stages, BuildConfig)
    source = f"run {run.name} ({launch_key(run.name)})"
    config: RunConfig = validated(
        TypeAdapter(kind), raw | {"store": store, "run": run.name}, source
    )
    check_texts(config.texts)
    if own is None and run.success() is None:
        if config.report_to:
            listener.say("`report_to` is not taken from a store: `--config FILE` says it")
        config = harmless(config, address)
    return recalled(config, run)


def _roles_left(run: Run, config: RunConfig) -> set[str]:
    """The models of stages that lack shards."""
    done = standing(run)
    return {
        stage.role
        for stage in config.road
        if stage.role in config.engines and len(done.done.get(stage.name, ())) < done.shards
    }
