"""The verbs that need no run: they check a machine, problems, answers or code, or list things."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from launch.cli import options


def problems(
    file: Annotated[
        str,
        typer.Argument(
            metavar="FILE",
            help="JSON, CSV, TSV or Parquet, a folder, s3://BUCKET/KEY or hf://datasets/NAME.",
        ),
    ],
    columns: Annotated[
        list[str] | None,
        typer.Option("--column", help="What a column is called: problem=question, as needed."),
    ] = None,
    against: Annotated[
        list[str] | None,
        typer.Option("--against", help="Benchmark to look for; as often as wanted."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", help="Write what is clean to this .jsonl or .parquet.")
    ] = None,
    limit: Annotated[int | None, typer.Option("--limit", min=1, help="Only so many rows.")] = None,
    as_json: options.Json = False,
) -> None:
    """Look at problems: how they are read, and which rows a build would have trouble with."""
    from launch.verbs.looking.problems import look_at_problems

    look_at_problems(file, columns or [], against or [], out, limit, as_json)


def plan(
    config: options.Config,
    source: Annotated[
        str | None,
        typer.Option("--from", help="Run whose own numbers are taken, finished or not."),
    ] = None,
    gpu: Annotated[
        str | None,
        typer.Option("--gpu", help="Without --from: GPU of the table of throughputs, e.g. H100."),
    ] = None,
    run: options.RunName = None,
    store: options.OtherStore = None,
    file: Annotated[
        str | None, typer.Option("--problems", help="File of problems instead of the one named.")
    ] = None,
    limit: Annotated[int | None, typer.Option("--limit", help="Only so many problems.")] = None,
    keep: Annotated[
        bool, typer.Option("--keep/--no-keep", help="Store it, so that `status` compares it.")
    ] = True,
    as_json: options.Json = False,
) -> None:
    """What a build will cost, as ranges: texts, tokens, GPU-hours, time, store and money."""
    from launch.config import load
    from launch.verbs.runs.plan import show_plan
    from workflows.inputs.places import resolved

    given = resolved(Path.cwd(), file) if file else None
    loaded = load(config, run=run, store=store, limit=limit, problems=given)
    show_plan(loaded, source, gpu, keep, as_json)


def execute(
    file: Annotated[Path, typer.Argument(metavar="FILE.py", help="Python script.")],
    as_json: options.Json = False,
    wall: Annotated[float | None, typer.Option("--wall", help="Seconds it may take.")] = None,
    memory: Annotated[int | None, typer.Option("--memory", help="MiB it may use.")] = None,
) -> None:
    """Run one script in the sandbox and say what happened."""
    from launch.verbs.looking.execute import execute_file

    raise typer.Exit(execute_file(file, as_json, wall, memory))


def grade(
    audit: Annotated[
        int,
        typer.Option(
            "--audit",
            min=0,
            help="Show so many pairs judged unequal whose numbers agree (standard error).",
        ),
    ] = 0,
) -> None:
    """Compare answers: JSON lines from standard input to standard output."""
    from launch.verbs.looking.grade import grade_stream, show_audit
    from workflows.answers.audit import Audit

    seen = Audit(audit) if audit else None
    totals = grade_stream(sys.stdin, sys.stdout, audit=seen)
    if seen is not None:
        show_audit(seen, totals, sys.stderr)


def stages(as_json: options.Json = False) -> None:
    """List the stages that a road may have: role, what each reads, its settings."""
    from launch.verbs.looking.stages import show_stages

    show_stages(as_json)


def prompts(
    write: Annotated[
        Path | None,
        typer.Option("--write", metavar="FOLDER", help="Write each as NAME.jinja, to be changed."),
    ] = None,
) -> None:
    """List the prompts of a build with their variables, or write them to be changed."""
    from launch.verbs.looking.prompts import show_prompts

    show_prompts(write)


def doctor(
    config: Annotated[
        Path | None, typer.Argument(metavar="[CONFIG]", help="Also check what this build needs.")
    ] = None,
    sandbox: Annotated[
        bool, typer.Option("--sandbox", help="Run the sandbox's whole contract as a check.")
    ] = False,
    run: options.RunName = None,
    store: options.OtherStore = None,
    problems: options.Problems = None,
    limit: options.MostProblems = None,
    address: options.Address = None,
    source: options.Source = None,
    as_json: options.Json = False,
) -> None:
    """Check packages, engine, GPUs, store, sandbox, disk and Ray: what works and what to do."""
    from launch.verbs.looking.doctor import examine

    overrides = {"run": run, "store": store, "problems": problems, "limit": limit}
    if not examine(config, overrides, address, source, sandbox, as_json):
        raise typer.Exit(2)
