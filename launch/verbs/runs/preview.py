"""The verb `preview`: a few problems through the whole road, and what became of every one.

Invariant: standard output has the result alone, in the order examples, drops, what to do next.
"""

from __future__ import annotations

import shlex
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import typer
from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.rule import Rule
from rich.text import Text

from launch.browse.server import to_json
from launch.shown import paths as shown
from launch.shown.terminal import TERMINAL
from launch.shown.text import say
from launch.verbs.looking.emptiness import fate_of_sample
from launch.verbs.looking.reasons import meanings
from launch.verbs.runs.build import build_run
from storage.rows.accounting import problem_of
from storage.rows.kinds import EXAMPLES, PATHS, PROBLEMS, TREE
from storage.runs.layout import DEFAULT_STORE
from storage.runs.run import Run
from workflows.browsing.path_page import path_pages
from workflows.builds.configuration import BuildConfig
from workflows.builds.preview import preview
from workflows.looking.tables import drops_of
from workflows.runs.reading import store_url


@dataclass(frozen=True, slots=True)
class Asked:
    """The command's own words, from which the next commands are made."""

    config: str
    overrides: tuple[str, ...] = ()
    """Options that replace settings of the configuration, each before its value."""
    address: str | None = None

    @property
    def build(self) -> str:
        """The command that builds what was previewed."""
        joined = ("--address", self.address) if self.address else ()
        return shlex.join(("stepmill", "build", self.config, *self.overrides, *joined))

    def plan(self, run: str) -> str:
        """The command that plans it from a run."""
        return shlex.join(("stepmill", "plan", self.config, *self.overrides, "--from", run))


@dataclass(slots=True)
class Fate:
    """What became of one problem of a preview."""

    problem_id: str
    problem: str
    answer: str
    samples: int = 0
    selected: int = 0
    kept: list[str] = field(default_factory=list)
    """path_ids that came through every stage."""
    shown: dict[str, Any] | None = None
    """The first kept path, whole; or else its first sample."""


@dataclass(slots=True)
class Previewed:
    """A finished preview, problem by problem."""

    run: str
    store: str
    exports: bool
    """Whether the road ends in examples; otherwise in paths."""
    fates: list[Fate] = field(default_factory=list)
    drops: list[dict[str, Any]] = field(default_factory=list)
    """stage, shard, item, reason and detail of each."""
    unselected: Counter[str] = field(default_factory=Counter)
    """Why samples were not taken further -> how many."""

    @property
    def examples(self) -> int:
        """Paths that came through every stage."""
        return sum(len(fate.kept) for fate in self.fates)


def preview_run(config: BuildConfig, problems: int, asked: Asked, as_json: bool) -> None:
    """Make the preview and print it; at a terminal, ask whether to build."""
    run = preview(config, problems, address=asked.address, listener=TERMINAL)
    seen = looked_at(run, config.store)
    if as_json:
        say(to_json({**_plain(seen), "build": asked.build}).decode())
        return
    Console(highlight=False).print(Group(*_parts(seen)))
    for line in _next(seen, asked):
        say(line)
    if sys.stdin.isatty() and sys.stdout.isatty() and typer.confirm("Build it now?"):
        build_run(config, asked.address)


def looked_at(run: Run, store: str) -> Previewed:
    """Read what became of every problem and path of a finished preview."""
    seen = Previewed(run.name, store, EXAMPLES.stage in run.spec.stages)
    seen.drops = drops_of(run, run.spec.stages).collect().to_dicts()
    for shard in range(run.spec.plan.shards):
        of_shard = [
            Fate(row.problem_id, row.problem, row.answer) for row in run.read_rows(PROBLEMS, shard)
        ]
        seen.fates += of_shard
        if PATHS.stage not in run.spec.stages:
            continue
        samples = run.read_rows(PATHS, shard)
        for fate in of_shard:
            own = [path for path in samples if path.problem_id == fate.problem_id]
            fate.samples, fate.selected = len(own), sum(path.selected for path in own)
        seen.unselected.update(fate_of_sample(path) for path in samples if not path.selected)
        _look_at_paths(run, shard, of_shard, samples)
    return seen


def _look_at_paths(run: Run, shard: int, fates: Sequence[Fate], samples: Sequence[Any]) -> None:
    """Note the kept paths of each problem, and one path to show."""
    chosen = [path.path_id for path in samples if path.selected]
    chosen = chosen or [path.path_id for path in samples[:1]]
    by_problem = {fate.problem_id: fate for fate in fates}
    for page in path_pages(run, shard, None if TREE.stage in run.spec.stages else chosen):
        fate = by_problem[problem_of(page["path_id"])]
        kept = page["finished"]
        if fate.shown is None or (kept and not fate.kept):
            fate.shown = page
        if kept:
            fate.kept.append(page["path_id"])


def _parts(seen: Previewed) -> Iterator[RenderableType]:
    """Examples, what became of each problem, and all drops with their meanings."""
    first = True
    for fate in seen.fates:
        if fate.kept and fate.shown is not None:
            yield Rule(f"example {fate.kept[0]}", align="left")
            yield shown.whole(fate.shown) if first else shown.short(fate.shown)
            first = False
    yield Rule("what became of each problem", align="left")
    for fate in seen.fates:
        yield Text(f"{fate.problem_id}: {_outcome(fate, seen.drops)}", "bold")
        if not fate.kept and fate.shown is not None:
            yield Padding(shown.short(fate.shown), (0, 0, 0, 2))
    if seen.drops:
        yield Rule("what was dropped, and why", align="left")
        yield from _dropped(seen.drops)
    if seen.unselected:
        counts = ", ".join(f"{n:,} {why}" for why, n in seen.unselected.most_common())
        yield Text(f"samples that were not taken further: {counts}")


def _outcome(fate: Fate, drops: Sequence[dict[str, Any]]) -> str:
    """A problem in a line."""
    if fate.kept:
        numbers = ", ".join(path_id.removeprefix(fate.problem_id) for path_id in fate.kept)
        return f"{len(fate.kept)} of {fate.selected} paths kept: {numbers}"
    for drop in drops:
        if drop["item"] == fate.problem_id:
            detail = f" ({drop['detail']})" if drop["detail"] else ""
            return f"dropped at {drop['stage']}: {drop['reason']}{detail}"
    return f"none of {fate.selected} paths kept"


def _dropped(drops: Sequence[dict[str, Any]]) -> Iterator[RenderableType]:
    """The drops by stage and reason, every item in a line of its own."""
    meaning = meanings()
    by_reason: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for drop in drops:
        by_reason.setdefault((drop["stage"], drop["reason"]), []).append(drop)
    for (stage, reason), of in by_reason.items():
        yield Text(f"{len(of):,} at {stage}: {reason}", "bold")
        if reason in meaning:
            yield Padding(Text(meaning[reason], "dim"), (0, 0, 0, 2))
        for drop in of:
            detail = f": {drop['detail']}" if drop["detail"] else ""
            yield Padding(Text(f"{drop['item']}{detail}"), (0, 0, 0, 2))


def _next(seen: Previewed, asked: Asked) -> Iterator[str]:
    """What to do now, a line each."""
    at = "" if seen.store == store_url(DEFAULT_STORE) else f" --store {shlex.quote(seen.store)}"
    ends = "examples" if seen.exports else "paths to the end of the road"
    yield ""
    yield f"{seen.examples:,} {ends} of {len(seen.fates):,} problems, in run {seen.run}"
    yield "a build samples anew and uses none of it"
    yield f"every path, in a browser:  stepmill browse {seen.run}{at}"
    yield f"paths of a reason:         stepmill show {seen.run} --reason REASON{at}"
    yield f"one path, whole:           stepmill why {seen.run} PATH{at}"
    yield f"what the whole will cost:  {asked.plan(seen.run)}"
    yield f"the build:                 {asked.build}"


def _plain(seen: Previewed) -> dict[str, Any]:
    """The preview as JSON values; `example` is the first kept path of a problem."""
    fates = [
        {
            **{name: value for name, value in asdict(fate).items() if name != "shown"},
            "outcome": _outcome(fate, seen.drops),
            "example": fate.shown if fate.kept else None,
        }
        for fate in seen.fates
    ]
    return {
        "run": seen.run,
        "store": seen.store,
        "examples": seen.examples,
        "problems": fates,
        "drops": seen.drops,
        "unselected": dict(seen.unselected),
    }
