"""The verbs `build` and `resume`: the work, and the summary at the end."""

from __future__ import annotations

from launch.config import validate
from launch.shown.terminal import TERMINAL
from launch.verbs.looking.emptiness import why_empty
from launch.verbs.runs.status import show_status
from storage.objects.opening import open_store
from storage.rows.kinds import REFINING, SCORING
from storage.runs.layout import DEFAULT_STORE
from storage.runs.run import Run
from workflows.builds.build import stored_configuration
from workflows.builds.configuration import BuildConfig
from workflows.builds.run import build, continue_build
from workflows.refinement.turns import continue_refining
from workflows.runs.reading import store_url
from workflows.runs.status import run_status
from workflows.scoring.asking import stored_score
from workflows.scoring.run import continue_scoring


def build_run(config: BuildConfig, address: str | None, source: str | None = None) -> None:
    """Start or continue the run of a configuration, to its end; `source`: derived from that run."""
    _show(build(config, source, address=address, listener=TERMINAL), config.store)


def resume_run(name: str, store: str, address: str | None) -> None:
    """Continue a run from its store alone."""
    opened = open_store(store)
    run = Run.open(opened, name)
    raw = {**stored_configuration(opened, name), "store": store, "run": name}
    if run.spec.stages == SCORING:
        show_status(run_status(continue_scoring(run, stored_score(raw, name), address, TERMINAL)))
    elif run.spec.stages == REFINING:
        continue_refining(run, raw, address, TERMINAL)
        again = "repeat `stepmill refine` for the next turn"
        TERMINAL.say(f"run {name} is finished: {again}")
    else:
        config = validate(raw, f"run {name}")
        _show(continue_build(run, config, address, TERMINAL), store)


def _show(run: Run, store: str) -> None:
    show_status(run_status(run))
    where = "" if store == store_url(DEFAULT_STORE) else f" --store {store}"
    if (why := why_empty(run)) is not None:
        TERMINAL.say(
            f"run {run.name} is finished and made 0 rows: {why}; "
            f"`stepmill texts {run.name}{where}` prints the texts that could not be read"
        )
        return
    TERMINAL.say(
        f"run {run.name} is finished: `stepmill download {run.name} FOLDER{where}` copies its "
        f"dataset"
    )
