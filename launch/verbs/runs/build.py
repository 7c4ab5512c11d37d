"""The verbs `build` and `resume`: they do the work and print a summary at the end."""

from __future__ import annotations

from pathlib import Path

from launch.shown.terminal import TERMINAL
from launch.verbs.looking.emptiness import why_empty
from launch.verbs.runs.status import show_status
from storage.rows.kinds import REFINING, SCORING, SOLVING
from storage.runs.run import Run
from workflows.builds.configuration import BuildConfig
from workflows.builds.resume import resume
from workflows.builds.run import build
from workflows.builds.trust import own_settings
from workflows.runs.reading import store_url, usual_store
from workflows.runs.status import run_status


def build_run(config: BuildConfig, address: str | None, source: str | None = None) -> None:
    """Start or continue a configuration's run, to its end; `source`: the run to derive from."""
    _show(build(config, source, address=address, listener=TERMINAL), config.store)


def resume_run(
    name: str, store: str, address: str | None, config: Path | None, models: Path | None
) -> None:
    """Continue a run to its end, without its input; with what a file says of models and places."""
    own = None if config is None else own_settings(config)
    run = resume(name, store, own=own, models=models, address=address, listener=TERMINAL)
    if run.spec.stages == REFINING:
        TERMINAL.say(f"run {name} is finished: repeat `stepmill refine` for the next turn")
    elif run.spec.stages in (SCORING, SOLVING):
        show_status(run_status(run))
    else:
        _show(run, store)


def _show(run: Run, store: str) -> None:
    show_status(run_status(run))
    where = "" if store == store_url(usual_store()) else f" --store {store}"
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
