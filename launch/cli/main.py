"""The command line: `stepmill VERB`.

Exit codes: 0 done; 2 the user's error, one line that says what to change; 3 infrastructure,
resumable; 130 interrupted, resumable.

Invariant: a verb reads its arguments, calls one function and shows the result. Every error becomes
one message and one exit code here; the user sees no traceback.
"""

from __future__ import annotations

import shlex
import signal
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Literal

import typer

from launch.cli import (
    checking,
    keeping,
    looking,
    options,
    publishing,
    serving,
    solving,
    starting,
    verifier,
)
from launch.cli.examples import show_examples
from launch.exits import INFRASTRUCTURE, failed, no_way, tell
from launch.shown.text import json_line, say
from launch.streams import flushed, give_up_output, hear_ctrl_c_again, show_warnings, usable_streams
from storage.errors import InfrastructureError, ItemError, StepmillError, StopAsked, UserError
from storage.runs.layout import DEFAULT_STORE
from storage.secrecy import hidden
from workflows.runs.reading import store_url

app = typer.Typer(
    name="stepmill",
    help="Process-supervision datasets: every step labelled, explained, executed.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

INTERRUPTED = 130
"""The exit code that typer returns after Ctrl-C."""
VIEWS_HELP = (
    "genprm, cot, code, direct; for other trainers: `stepmill docs reuse`; a stage: its rows."
)


def build(
    config: options.Config,
    run: options.RunName = None,
    store: options.OtherStore = None,
    problems: options.Problems = None,
    limit: options.MostProblems = None,
    address: options.Address = None,
    source: options.Source = None,
) -> None:
    """Start a run, or continue it: the same command after a crash finishes the rest."""
    from launch.config import load
    from launch.verbs.runs.build import build_run

    named = load(config, run=run, store=store, problems=problems, limit=limit)
    build_run(named, address, source)


def resume(
    run: options.Run,
    store: options.Store = DEFAULT_STORE,
    address: options.Address = None,
    config: Annotated[
        Path | None,
        typer.Option("--config", help="File with `models`, where they run code or are servers."),
    ] = None,
    models: Annotated[
        Path | None,
        typer.Option("--models", help="Folder that holds its local models, found by content."),
    ] = None,
) -> None:
    """Continue a run from what its store holds; its input is not needed again."""
    from launch.verbs.runs.build import resume_run

    resume_run(run, store_url(store), address, config, models)


def submit(
    config: options.Config,
    address: Annotated[
        str, typer.Option("--address", envvar="RAY_API_SERVER_ADDRESS", help="http://HEAD:8265")
    ] = "http://127.0.0.1:8265",
    run: options.RunName = None,
    store: options.OtherStore = None,
    source: options.Source = None,
) -> None:
    """Build as a job of a Ray cluster, following its log; Ctrl-C ends the following only."""
    from launch.verbs.runs.submit import submit as submit_job

    raise typer.Exit(submit_job(config, address, run, store, source))


def status(
    run: Annotated[
        str | None, typer.Argument(metavar="[RUN]", help="Name of the run; without it: all runs.")
    ] = None,
    store: options.Store = DEFAULT_STORE,
    as_json: options.Json = False,
    watch: Annotated[
        bool, typer.Option("--watch", help="Look again until it is finished, with time left.")
    ] = False,
) -> None:
    """Shards, rows, drops and tokens of every stage, from commits alone; who is at work on it."""
    from launch.verbs.runs.status import show_status
    from workflows.runs.status import run_status

    if run is None:
        return keeping.runs(store, as_json)
    if watch:
        from launch.verbs.runs.watch import watch_run

        return watch_run(options.opened(run, store), as_json)
    state = run_status(options.opened(run, store))
    if as_json:
        _print_json(asdict(state))
    else:
        show_status(state)


def compare(
    runs: Annotated[list[str], typer.Argument(metavar="RUN...", help="Names of the runs.")],
    store: options.Store = DEFAULT_STORE,
    truth: Annotated[
        Path | None,
        typer.Option(
            "--truth",
            help="JSON lines or Parquet: path_id, first_error (-1: none); or `marks`.",
        ),
    ] = None,
    plot: Annotated[
        Path | None, typer.Option("--plot", help="PNG of quality against tokens.")
    ] = None,
    as_json: options.Json = False,
) -> None:
    """Labels, cost and quality of runs, side by side."""
    from launch.verbs.runs.compare import compare_runs

    compare_runs([options.opened(run, store) for run in runs], truth, plot, as_json)


def audit(
    run: options.Run,
    store: options.Store = DEFAULT_STORE,
    as_json: options.Json = False,
    replay: Annotated[
        float,
        typer.Option("--replay", help="Run the code of this share of the exported rows again."),
    ] = 0.0,
) -> None:
    """Re-read every committed object and check it; exit code 3 where something is wrong."""
    from launch.verbs.runs.status import audit_run

    if not audit_run(options.opened(run, store), as_json, replay):
        raise typer.Exit(3)


def texts(
    run: options.Run,
    store: options.Store = DEFAULT_STORE,
    reason: Annotated[
        str | None, typer.Option("--reason", help="Only those dropped for it, e.g. no_code.")
    ] = None,
    limit: Annotated[int, typer.Option("--limit", min=1, help="At most so many.")] = 10,
    as_json: options.Json = False,
) -> None:
    """Print rationales that were dropped, each with its reason."""
    from launch.verbs.runs.texts import show_dropped

    show_dropped(options.opened(run, store), reason, limit, as_json)


def sweep(
    run: options.Run, store: options.Store = DEFAULT_STORE, as_json: options.Json = False
) -> None:
    """Remove data that no commit names; what a shard in work may still name stays."""
    from launch.verbs.runs.status import sweep_run

    sweep_run(options.opened(run, store), as_json)


def download(
    runs: Annotated[
        list[str],
        typer.Argument(metavar="RUN...", help="Name of the run, or of several to put together."),
    ],
    dest: Annotated[Path, typer.Argument(metavar="DEST", help="Folder to write.")],
    store: options.Store = DEFAULT_STORE,
    view: Annotated[str, typer.Option("--view", help=VIEWS_HELP)] = "genprm",
    formats: Annotated[str, typer.Option("--format", help="parquet, jsonl or both.")] = "parquet",
    reviewed: Annotated[
        bool, typer.Option("--reviewed", help="Without what was marked wrong in `browse`.")
    ] = False,
    repeated: Annotated[
        Literal["drop", "keep"],
        typer.Option("--repeated", help="Of several runs: solutions that an earlier one has too."),
    ] = "drop",
) -> None:
    """Copy the finished dataset to a folder, checked; repeating it copies only what is missing."""
    from launch.verbs.runs.download import download_run

    opened = [options.opened(run, store) for run in runs]
    download_run(opened, dest, view, formats, reviewed, repeated)


for verb in (
    *(starting.init, checking.problems, starting.preview, checking.plan, checking.doctor),
    *(build, resume, submit, status, keeping.stop),
    *(looking.browse, looking.show, looking.why, texts, compare, looking.noise, audit),
    *(download, publishing.push, keeping.runs, keeping.copy, keeping.remove, sweep),
    *(verifier.train, verifier.score, verifier.evaluate, verifier.refine, solving.solve),
    serving.serve,
    *(starting.docs, checking.stages, checking.prompts, checking.grade, starting.sandbox),
):  # in the order of the road, as `--help` lists them
    app.command()(verb)
app.command(name="exec")(checking.execute)
show_examples(app)


def _print_json(value: object) -> None:
    say(json_line(value))


def main() -> None:
    """Entry point of the `stepmill` command."""
    # A script's background jobs start with SIGINT ignored; a SIGINT sent to them is meant.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    usable_streams()
    hear_ctrl_c_again()
    show_warnings()
    try:
        code = run_command(sys.argv[1:])
    except KeyboardInterrupt:  # once more, while it was said that the first one interrupted
        code = INTERRUPTED
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Python's own end would print a traceback
    sys.exit(code)


def run_command(arguments: list[str]) -> int:
    """Run one verb; every error becomes one message and an exit code."""
    try:
        try:
            outcome = app(arguments, prog_name="stepmill", standalone_mode=False)
            flushed()
        except KeyboardInterrupt:
            outcome = INTERRUPTED
        if outcome == INTERRUPTED and arguments[:1] != ["submit"]:  # which says more itself
            again = shlex.join(["stepmill", *arguments])
            tell(f"interrupted; the same command continues: {hidden(again)}")
        return outcome if isinstance(outcome, int) else 0
    except typer.TyperException as error:
        tell(hidden(error.format_message()))
        return 2
    except (UserError, ItemError) as error:
        return failed(error, 2)
    except StopAsked as error:
        again = shlex.join(["stepmill", *arguments])
        tell(hidden(f"{error}; the same command continues: {again}"))
        return INTERRUPTED
    except InfrastructureError as error:
        return failed(error, INFRASTRUCTURE)
    except StepmillError as error:
        return failed(error, INFRASTRUCTURE)
    except SystemExit as end:
        if not isinstance(end.__context__, BrokenPipeError):
            raise
        give_up_output()  # the reader has enough
        return 0
    except OSError as error:
        return no_way(error)
