"""What a run says of the noise of its own labels, and of the problems that its filters lost.

Rows are read shard by shard; of each step only sums stay. Groups are a problem's level, the
rollouts of a path's states (K) and MC(s_1), the share of right rollouts of the bare problem.

Invariant: a pure function of the run's rows: its draws are seeded by the path's name.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import count, takewhile
from typing import Any

import numpy as np
from pydantic import TypeAdapter

from storage.errors import ConfigurationError
from storage.rows.accounting import problem_of
from storage.rows.kinds import EXAMPLES, LABELS, PATHS, PROBLEMS, ROLLOUTS
from storage.rows.records import PathLabels, StateRollouts
from storage.runs.run import Run
from workflows.labels.noise import (
    RELATIVE,
    Counts,
    cut_labels,
    halves_differ,
    mended,
    unchanged_called_wrong,
)
from workflows.runs.reading import validated
from workflows.settings import LabelSettings

COUNTED = ("exact", "exact_zero_stop")
"""Budgets under which a state's rollouts are alike, so that halves of them may be compared."""
MC_STEPS = 5
"""Groups of MC values."""
_LABEL: TypeAdapter[LabelSettings] = TypeAdapter(LabelSettings)
FEW = 100
"""A group with fewer steps is not recommended for further rollouts."""
Told = Callable[[int, int], None]
"""Called with the shards that were read, and all."""


@dataclass(slots=True)
class Group:
    """Sums over steps, or paths, that have something in common."""

    steps: int = 0
    halves: int = 0
    """Steps of paths whose rollouts were halved."""
    differ: int = 0
    """Of these, steps whose labels differ between the halves."""
    relative: int = 0
    """Steps behind a state with a right rollout, whose next state was rolled out."""
    unchanged: float = 0.0
    """Sum over these: the chance that the step is called wrong if it changes nothing."""
    wrong_now: int = 0
    wrong_then: int = 0
    """Labels of one draw that differ from the drawn MC's, now and with twice the rollouts."""
    rollouts: int = 0
    made: int = 0
    """Rollouts that labelled paths paid for; not counted in a run of which none was cut."""
    cut: int = 0
    """Of these, cut at the token limit."""
    between: int = 0
    """Steps between states that were rolled out."""
    if_wrong: int = 0
    """Of these, called wrong if every cut rollout is wrong."""
    if_right: int = 0
    """Of these, called wrong if every cut rollout is right."""
    turned: int = 0
    """Of these, labelled otherwise by the one than by the other."""

    @property
    def cut_share(self) -> float | None:
        """Share of the rollouts that were cut."""
        return self.cut / self.made if self.made else None

    @property
    def differing(self) -> float | None:
        """Share of labels that differ between halves."""
        return self.differ / self.halves if self.halves else None

    @property
    def called_wrong(self) -> float | None:
        """Expected share of the steps that change nothing and are called wrong."""
        return self.unchanged / self.relative if self.relative else None

    @property
    def gain(self) -> float | None:
        """Labels that another thousand rollouts here are expected to mend."""
        if not self.rollouts:
            return None
        return 1000 * (self.wrong_now - self.wrong_then) / self.rollouts


@dataclass(slots=True)
class Kept:
    """What the filters left of a level, or of paths with like MC(s_1)."""

    problems: int = 0
    sampled: int = 0
    """Problems with selected paths."""
    selected: int = 0
    """Paths that were rolled out."""
    labelled: int = 0
    kept: int = 0
    dropped: dict[str, int] = field(default_factory=dict)
    """`stage: reason` -> items."""


@dataclass(frozen=True, slots=True)
class Noise:
    """The report."""

    run: str
    by_level: dict[tuple[str, int], Group]
    """(level, K) -> steps."""
    by_mc: dict[tuple[str, int], Group]
    """(MC of the state before, as a range; K) -> steps."""
    whole: Group
    lost_halves: int
    """Paths of which a half of the rollouts has no right one of the bare problem."""
    kept_by_level: dict[str, Kept]
    kept_by_start: dict[str, Kept]
    """MC(s_1), as a range -> paths; those without labels are not in it."""
    not_shown: tuple[str, ...]
    """What could not be computed, and why."""

    @property
    def worth_rolling(self) -> list[tuple[tuple[str, int], float]]:
        """Groups of `by_level` in which another thousand rollouts mend most, the most first.

        Those with few steps are left out: one draw says little of them.
        """
        large = ((key, group) for key, group in self.by_level.items() if group.steps >= FEW)
        gains = ((key, group.gain) for key, group in large)
        return sorted(((key, gain) for key, gain in gains if gain), key=lambda item: -item[1])


def noise(run: Run, told: Told = lambda done, total: None) -> Noise:
    """Read the labels of a run. Raises ConfigurationError for a run without, ObjectCorrupt."""
    if LABELS.stage not in run.spec.stages:
        raise ConfigurationError(f"run {run.name!r} labels no steps: it has no stage `label`")
    stages = run.spec.section("stages")
    settings = validated(_LABEL, dict(stages.get(LABELS.stage, {})), "the run's spec")
    report = _Reading(run, settings, _why_not(run, settings, stages))
    shards = sorted(report.done[LABELS.stage])
    for number, shard in enumerate(shards, start=1):
        report.read(shard)
        told(number, len(shards))
    return Noise(
        run.name, dict(report.by_level), dict(report.by_mc), report.whole, report.lost_halves,
        dict(sorted(report.kept_by_level.items())), dict(sorted(report.kept_by_start.items())),
        tuple(report.why_not.values()),
    )  # fmt: skip


def _why_not(run: Run, settings: LabelSettings, stages: Mapping[str, Any]) -> dict[str, str]:
    """`halves`, `unchanged` -> why it can't be computed."""
    found = {}
    budget = stages.get(ROLLOUTS.stage, {}).get("mc_budget", COUNTED[0])
    if ROLLOUTS.stage not in run.spec.stages or budget not in COUNTED:
        found["halves"] = f"halves of rollouts: the counts of budget {budget!r} are not alike"
    elif settings.estimate != "counts" or settings.prover != "none":
        found["halves"] = "halves of rollouts: labels are made of more than a path's own counts"
    if settings.estimate != "counts":
        found["unchanged"] = "steps that change nothing: labels are made of more than counts"
        found["cut"] = "cut rollouts, right or wrong: labels are made of more than counts"
    elif settings.form not in RELATIVE or settings.prover != "none":
        found["unchanged"] = f"steps that change nothing: form {settings.form!r} compares none"
    return found


class _Reading:
    """Adds up shards."""

    def __init__(self, run: Run, settings: LabelSettings, why_not: dict[str, str]) -> None:
        self._run, self._settings = run, settings
        self.done = {stage: run.shards_of(stage) for stage in run.spec.stages}
        rolled = run.totals(ROLLOUTS.stage) if self.done.get(ROLLOUTS.stage) else None
        self._cut = rolled is not None and rolled.counts.get("truncated", 1) > 0
        """Whether a rollout was cut, by the commits' counts, or it is not known."""
        self.why_not = why_not
        self.by_level: defaultdict[tuple[str, int], Group] = defaultdict(Group)
        self.by_mc: defaultdict[tuple[str, int], Group] = defaultdict(Group)
        self.whole = Group()
        self.lost_halves = 0
        self.kept_by_level: defaultdict[str, Kept] = defaultdict(Kept)
        self.kept_by_start: defaultdict[str, Kept] = defaultdict(Kept)

    def read(self, shard: int) -> None:
        """Add a shard."""
        levels = {
            row.problem_id: str(row.level) if row.level else "-"
            for row in self._run.read_rows(PROBLEMS, shard)
        }
        labelled = self._run.read_rows(LABELS, shard)
        starts = {row.path_id: mc_range(row.mc[0]) for row in labelled}

        def kept(path: str) -> list[Kept]:
            level = self.kept_by_level[levels.get(problem_of(path) or path, "-")]
            return [level, self.kept_by_start[starts[path]]] if path in starts else [level]

        for level in levels.values():
            self.kept_by_level[level].problems += 1
        selected = self._selected(shard)
        for problem in {problem_of(path) for path in selected}:
            self.kept_by_level[levels.get(problem, "-")].sampled += 1
        for path in selected:
            for one in kept(path):
                one.selected += 1
        rolled = self._rolled(shard)
        for row in labelled:
            groups = self._add(row, levels.get(row.problem_id, "-"))
            self._add_cut(rolled.get(row.path_id, {}), row, groups)
            for one in kept(row.path_id):
                one.labelled += 1
        for path in self._exported(shard):
            for one in kept(path):
                one.kept += 1
        for stage in (stage for stage, shards in self.done.items() if shard in shards):
            for drop in self._run.commit(stage, shard).drops:
                for one in kept(drop.item):
                    reason = f"{stage}: {drop.reason}"
                    one.dropped[reason] = one.dropped.get(reason, 0) + 1

    def _selected(self, shard: int) -> list[str]:
        """The paths that go on from sampling; none where a run has no such stage."""
        if shard not in self.done.get(PATHS.stage, ()):
            return []
        return [row.path_id for row in self._run.read_needed(PATHS, shard) if row.selected]

    def _rolled(self, shard: int) -> dict[str, dict[int, list[StateRollouts]]]:
        """path_id -> state -> its rows; none where no rollout of the run was cut."""
        found: defaultdict[str, dict[int, list[StateRollouts]]] = defaultdict(dict)
        if self._cut and shard in self.done[ROLLOUTS.stage]:
            for row in self._run.read_rows(ROLLOUTS, shard):
                found[row.path_id].setdefault(row.state, []).append(row)
        return found

    def _exported(self, shard: int) -> list[str]:
        if shard not in self.done.get(EXAMPLES.stage, ()):
            return []
        return list(self._run.read_table(EXAMPLES, shard, ["path_id"])["path_id"].to_pylist())

    def _add_cut(
        self, rolled: Mapping[int, list[StateRollouts]], row: PathLabels, groups: Sequence[Group]
    ) -> None:
        """What the rollouts of a path that were cut may change of its labels."""
        rows = [row for state in rolled.values() for row in state if not row.shared]
        for group in groups:
            group.made += sum(row.n for row in rows)
            group.cut += sum(row.truncated for row in rows)
        if "cut" in self.why_not or 0 not in rolled:
            return
        states = []
        for number in takewhile(rolled.__contains__, count()):
            low, high = zip(*(row.bounds for row in rolled[number]), strict=True)
            states.append((sum(row.n for row in rolled[number]), sum(low), sum(high)))
        graded = len(states) == len(row.mc) - 1 and 0 not in row.mc[:-1]  # else the rule hides it
        least, most = cut_labels(states, row.mc[-1] > 0 if graded else None, self._settings)
        for group in groups:
            group.between += len(least)
            group.if_wrong += least.count(False)
            group.if_right += most.count(False)
            group.turned += sum(a != b for a, b in zip(least, most, strict=True))

    def _add(self, row: PathLabels, level: str) -> tuple[Group, Group]:
        """Add a path to its groups, which are returned."""
        counts = Counts.of(row.n, row.mc)
        most = int(counts.n[1:].max(initial=0)) or int(counts.n[0])
        at_level = self.by_level[level, most]
        groups = (self.whole, at_level)
        steps = len(row.mc) - 1
        for group in groups:
            group.steps += steps
        if "halves" not in self.why_not:
            seed = hashlib.sha256(row.path_id.encode()).digest()
            of = np.random.default_rng(np.frombuffer(seed, np.uint32))
            if (found := halves_differ(counts, self._settings, of)) is None:
                self.lost_halves += 1
            else:
                for group in groups:
                    group.differ += found[0]
                    group.halves += found[1]
            now, then = mended(counts, self._settings, of)
            for group in groups:
                group.wrong_now += now
                group.wrong_then += then
                group.rollouts += int(counts.n[1:].sum())
        for step in range(steps):
            c, n = int(counts.c[step]), int(counts.n[step])
            after = int(counts.n[step + 1]) if step + 1 < steps else 0  # the last is graded
            mc = self.by_mc[mc_range(row.mc[step]), most]
            mc.steps += 1
            if "unchanged" not in self.why_not and c and after:
                chance = _unchanged(c, n, after, self._settings)
                for group in (*groups, mc):
                    group.relative += 1
                    group.unchanged += chance
        return groups


_unchanged = lru_cache(maxsize=100_000)(unchanged_called_wrong)


def mc_range(mc: float) -> str:
    """The group of an MC value: `0.2-0.4`; the last one has 1.0 in it."""
    low = min(MC_STEPS - 1, int(mc * MC_STEPS))
    return f"{low / MC_STEPS:.1f}-{(low + 1) / MC_STEPS:.1f}"
