"""The verbs `status`, `audit` and `sweep`, as text or as JSON.

Invariant: they show what `workflows.runs.status`, audit and sweep return.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import asdict

from rich.console import Console, Group
from rich.text import Text

from launch.shown.plans import planned_table
from launch.shown.tables import Sheet
from launch.shown.text import json_line, say
from storage.audit import audit
from storage.errors import ConfigurationError
from storage.rows.kinds import EXAMPLES, RATIONALES
from storage.rows.readings import NOT_RECORDED, Kept
from storage.runs.run import Run
from storage.sweep import sweep
from workflows.builds.rerun import Rerun, executes, run_again
from workflows.formats.executed import shown_unrun
from workflows.runs.status import RunStatus


def show_status(status: RunStatus) -> None:
    """Print a run as tables."""
    Console().print(status_tables(status))


def status_tables(status: RunStatus) -> Group:
    """A run stage by stage, what was kept of its rationales, and why it stopped, if it did."""
    tables: list[Sheet | Text | str] = [status_table(status)]
    rows = {stage.stage: stage.rows for stage in status.stages}
    if status.kept:
        tables.append(kept_table(status.kept))
    elif rows.get(RATIONALES.stage) and rows.get(EXAMPLES.stage):
        tables.append(f"kept by attempt and reading: {NOT_RECORDED}")
    if status.labels_said:
        tables.append(Text(status.labels_said))
    if status.planned:
        tables.append(planned_table(status.planned, status.currency))
    if status.work_said:
        tables.append(Text(status.work_said))
    if status.stopped:
        tables.append(Text(status.stopped))
    if status.at_work:
        tables.append(Text(f"at work: {', '.join(status.at_work)}"))
    return Group(*tables)


def kept_table(groups: Sequence[Kept]) -> Sheet:
    """Make a table of the kept rationales, by attempt and reading."""
    table = Sheet("kept by attempt and reading of the rationale")
    for name in ("attempt", "reading", "rationales", "kept", "of those", "wrong steps of the kept"):
        table.add_column(name, justify="left" if name == "reading" else "right")
    for group in groups:
        numbers = (f"{group.rationales:,}", f"{group.kept:,}")
        table.add_row(
            str(group.attempt), group.reading, *numbers, group.kept_share, group.wrong_share
        )
    return table


def status_table(status: RunStatus) -> Sheet:
    """Make a table of a run's stages."""
    state = "finished" if status.finished else "unfinished"
    captions = [f"pilot: {status.pilot_said}"] if status.pilot_said else []
    for role, settings in status.engines.items():
        if lacking := [name for name, value in settings.items() if value == NOT_RECORDED]:
            captions.append(f"{NOT_RECORDED} of {role} (an older spec): {', '.join(lacking)}")
    derived = f" · from run {status.origin}" if status.origin else ""
    table = Sheet(
        title=f"run {status.run}{derived} · {status.problems:,} {status.stages[0].stage} · {state}",
        caption="\n".join(captions) or None,
    )
    columns = ("stage", "shards", "rows", "tokens", "dropped")
    for name in columns:
        left = name in ("stage", "dropped")
        table.add_column(name, justify="left" if left else "right", overflow="fold")
    for stage in status.stages:
        tokens = stage.counts.get("tokens", 0)
        table.add_row(
            stage.stage,
            f"{stage.shards_done}/{stage.shards}",
            f"{stage.rows:,}",
            f"{tokens:,}" if tokens else "",
            ", ".join(f"{reason} {n:,}" for reason, n in sorted(stage.drops.items())),
        )
    return table


def duration(seconds: float | None) -> str:
    """`45 s`, `12 min`, `3.5 h`, `2.1 d`; empty for None or 0."""
    if not seconds:
        return ""
    for unit, size, enough in (("s", 1, 120), ("min", 60, 7_200), ("h", 3_600, 172_800)):
        if seconds < enough:
            return f"{seconds / size:.{1 if unit == 'h' else 0}f} {unit}"
    return f"{seconds / 86_400:.1f} d"


def audit_run(run: Run, as_json: bool, replay: float = 0.0) -> bool:
    """Audit a run and print the findings; return whether there is none.

    `replay`: the share (0..1) of its exported rows whose code is run again. Raises
    ConfigurationError for another number, and InfrastructureError where no sandbox can be opened.
    """
    if not 0 <= replay <= 1:
        raise ConfigurationError(f"`--replay {replay:g}`: give a share between 0 and 1")
    audited = audit(run, shown_unrun if executes(run) else None)
    again = asyncio.run(run_again(run, replay)) if replay and executes(run) else Rerun()
    findings = (*audited.findings, *again.findings)
    if as_json:
        body = {**asdict(audited), "findings": [asdict(finding) for finding in findings]}
        rerun = {"rows": again.rows, "blocks": again.blocks, "otherwise": len(again.findings)}
        say(json_line({**body, "replayed": rerun}))
        return not findings
    for finding in findings:
        say(str(finding))
    state = "clean" if not findings else f"{len(findings)} findings"
    say(f"audit of {run.name}: {audited.objects:,} objects, {audited.rows:,} rows: {state}")
    if audited.exported:
        say(
            f"exported rows that show what was not run: {audited.not_executed:,} of "
            f"{audited.exported:,}"
        )
    if again.rows:
        say(
            f"run again: {again.blocks:,} blocks of {again.rows:,} rows, "
            f"{len(again.findings):,} rows print something else"
        )
    return not findings


def sweep_run(run: Run, as_json: bool) -> None:
    """Remove the objects that no commit names, and print how many."""
    removed = sweep(run)
    if as_json:
        say(json_line(asdict(removed)))
    else:
        size = f"{removed.objects:,} objects, {removed.bytes:,} bytes"
        say(f"sweep of {run.name}: removed {size}")
        if removed.unsettled:
            say(
                f"{removed.unsettled:,} objects stay: their shards have no commit yet, since run "
                f"{run.name} is not finished"
            )
        elif run.success() is None:
            say(f"run {run.name} is not finished: nothing else was left behind so far")
