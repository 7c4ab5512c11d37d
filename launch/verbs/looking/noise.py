"""The verb `noise`: how much of a run's labels is noise, and which problems its filters lost.

Invariant: it shows what `workflows.looking.noise` computes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict

from rich.console import Console

from launch.shown.bars import passing
from launch.shown.tables import Sheet
from launch.shown.text import json_line, say
from storage.runs.run import Run
from workflows.looking.noise import Group, Kept, Noise, noise

MOST_GROUPS = 5
"""Groups that are named as worth further rollouts."""


def show_noise(run: Run, as_json: bool) -> None:
    """Print the report of a run."""
    with passing(disable=as_json) as bar:
        task = bar.add_task("reading labels", total=None)
        found = noise(run, lambda done, total: bar.update(task, completed=done, total=total))
    if as_json:
        say(json_line(as_plain(found)))
        return
    console = Console()
    for table in (noise_table(found), *kept_tables(found)):
        console.print(table)
    for line in said(found):
        say(line)


def as_plain(found: Noise) -> dict[str, object]:
    """The report as JSON has it: groups as lists of objects."""

    def group(of: Group) -> dict[str, object]:
        shares = {
            "differing": of.differing, "called_wrong": of.called_wrong, "gain": of.gain,
            "cut_share": of.cut_share,
        }  # fmt: skip
        return asdict(of) | shares

    return {
        "run": found.run,
        "whole": group(found.whole),
        "lost_halves": found.lost_halves,
        "by_level": [{"level": a, "k": k} | group(of) for (a, k), of in found.by_level.items()],
        "by_mc": [{"mc": a, "k": k} | group(of) for (a, k), of in found.by_mc.items()],
        "kept_by_level": {name: asdict(kept) for name, kept in found.kept_by_level.items()},
        "kept_by_start": {name: asdict(kept) for name, kept in found.kept_by_start.items()},
        "not_shown": list(found.not_shown),
    }


def noise_table(found: Noise) -> Sheet:
    """Make a table of label noise by level and K, and by MC and K."""
    table = Sheet(f"noise of the labels of run {found.run}")
    table.add_column("steps of")
    names = ("K", "steps", "halves differ", "unchanged called wrong", "mended by 1,000 rollouts")
    for name in names if not found.whole.cut else (*names, "cut"):
        table.add_column(name, justify="right")

    def add(name: str, k: str, of: Group) -> None:
        gain = "-" if of.gain is None else f"{of.gain:.1f}"
        cut = (_share(of.cut_share),) if found.whole.cut else ()
        shares = (_share(of.differing), _share(of.called_wrong), gain, *cut)
        table.add_row(name, k, f"{of.steps:,}", *shares)

    for (level, k), of in sorted(found.by_level.items()):
        add(_level(level), str(k), of)
    for (mc, k), of in sorted(found.by_mc.items()):
        add(f"MC before {mc}", str(k), of)
    add("all", "", found.whole)
    return table


def kept_tables(found: Noise) -> list[Sheet]:
    """Make tables of what the filters left, by level and by MC(s_1)."""
    by_level = _kept_table("kept by level", "level", found.kept_by_level, True)
    return [by_level, _kept_table("kept by MC(s_1)", "MC(s_1)", found.kept_by_start, False)]


def _kept_table(title: str, first: str, groups: Mapping[str, Kept], problems: bool) -> Sheet:
    table = Sheet(title)
    table.add_column(first)
    numbers = ("problems", "with paths") if problems else ()
    for name in (*numbers, "paths", "labelled", "kept", "share"):
        table.add_column(name, justify="right")
    table.add_column("dropped", overflow="fold")
    for name, kept in groups.items():
        of_problems = (f"{kept.problems:,}", f"{kept.sampled:,}") if problems else ()
        share = _share(kept.kept / kept.selected if kept.selected else None)
        falling = sorted(kept.dropped.items(), key=lambda item: (-item[1], item[0]))
        drops = ", ".join(f"{reason} {n:,}" for reason, n in falling)
        counts = (f"{kept.selected:,}", f"{kept.labelled:,}", f"{kept.kept:,}")
        table.add_row(name, *of_problems, *counts, share, drops)
    return table


def said(found: Noise) -> list[str]:
    """The report in sentences: where rollouts help most, and what is not shown."""
    lines = []
    if best := found.worth_rolling[:MOST_GROUPS]:
        each = ", ".join(f"{_level(level)} at K {k}: {gain:.1f}" for (level, k), gain in best)
        lines.append(f"labels that another 1,000 rollouts would mend, most first: {each}")
    if found.lost_halves:
        lines.append(
            f"{found.lost_halves:,} paths have a half without a right rollout of the bare problem: "
            "it would drop them"
        )
    if (whole := found.whole).cut and whole.between:
        lines.append(
            f"{whole.cut:,} of {whole.made:,} rollouts were cut at the token limit: if all of them "
            f"are wrong, {_share(whole.if_wrong / whole.between)} of {whole.between:,} steps are "
            f"called wrong, if all are right {_share(whole.if_right / whole.between)}; "
            f"{_share(whole.turned / whole.between)} of the labels turn"
        )
    if found.whole.differing is not None:
        lines.append("halves have half the rollouts each: whole runs differ less from each other")
    return [*lines, *(f"not shown: {why}" for why in found.not_shown)]


def _level(level: str) -> str:
    """A level's name; MATH's own are `Level 1` to `Level 5`."""
    return level if level.lower().startswith("level") else f"level {level}"


def _share(share: float | None) -> str:
    return "-" if share is None else f"{100 * share:.1f} %"
