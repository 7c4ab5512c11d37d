"""The noise of labels: each figure against the experiment that it is the expectation of."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from launch.verbs.looking.noise import noise_table, show_noise
from storage.errors import ConfigurationError
from storage.objects.memory import MemoryStore
from storage.rows.kinds import EXAMPLES, LABELS, PATHS, ROLLOUTS, Rows
from storage.rows.records import AnswerCount, StateRollouts
from storage.rows.records import Path as SampledPath
from storage.runs.run import Run
from tests.support import whole_run
from tests.support.scripted_build import Build, configure
from tests.support.whole_run import started
from workflows.labels.noise import Counts, cut_labels, halves_differ, mended, unchanged_called_wrong
from workflows.labels.values import label
from workflows.looking.noise import mc_range, noise
from workflows.settings import LabelSettings

RATIO = LabelSettings()
DRAWS = 20_000


def counts(*of: tuple[int, int], correct: bool = True) -> Counts:
    c, n = zip(*of, strict=True)
    return Counts(np.array(n), np.array(c), correct)


@pytest.mark.parametrize(("c", "n"), [(4, 8), (16, 32), (30, 32), (64, 128)])
@pytest.mark.parametrize(
    "settings", [RATIO, LabelSettings(form="difference", threshold=-0.1)], ids=["ratio", "diff"]
)
def test_the_chance_of_calling_an_idle_step_wrong_is_how_often_it_happens(
    c: int, n: int, settings: LabelSettings
) -> None:
    of = np.random.default_rng(7)
    happened = tried = 0
    for before, after in of.binomial(n, c / n, (DRAWS // 10, 2)):
        if before:
            labels = label([(int(before), n), (int(after), n)], True, settings).labels
            happened, tried = happened + (not labels[0]), tried + 1
    chance = unchanged_called_wrong(c, n, n, settings)
    noise_of_it = (chance * (1 - chance) / tried) ** 0.5
    assert abs(happened / tried - chance) < 4 * noise_of_it + 1e-3, "seed 7"


def test_more_rollouts_call_fewer_idle_steps_wrong_and_certain_ones_none() -> None:
    chances = [unchanged_called_wrong(n // 2, n, n, RATIO) for n in (8, 32, 128, 512)]
    assert chances == sorted(chances, reverse=True)
    assert 0.1 < chances[1] < 0.33
    assert unchanged_called_wrong(8, 8, 8, RATIO) == 0


@pytest.mark.parametrize("settings", [LabelSettings(form="hard", threshold=0)])
def test_forms_in_which_no_step_changes_nothing_have_no_such_chance(
    settings: LabelSettings,
) -> None:
    with pytest.raises(ValueError, match="nothing to compare"):
        unchanged_called_wrong(4, 8, 8, settings)


def test_halves_of_drawn_rollouts_differ_as_often_as_two_runs_of_half_the_size() -> None:
    of, p, n = np.random.default_rng(11), np.array([0.8, 0.6, 0.5]), 16
    halves: Counter[str] = Counter()
    runs: Counter[str] = Counter()
    for _ in range(DRAWS // 10):
        drawn = of.binomial(n, p)
        if found := halves_differ(Counts(np.full(3, n), drawn, True), RATIO, of):
            halves.update(differ=found[0], steps=found[1])
        one, other = of.binomial(n // 2, p), of.binomial(n // 2, p)
        if one[0] and other[0]:
            pair = [
                label([(int(c), n // 2) for c in each], True, RATIO).labels for each in (one, other)
            ]
            differ = sum(a != b for a, b in zip(*pair, strict=True))
            runs.update(differ=differ, steps=len(pair[0]))
    ours, theirs = (each["differ"] / each["steps"] for each in (halves, runs))
    assert 0.05 < theirs < 0.5
    assert abs(ours - theirs) < 0.03, "seed 11"


def test_halves_of_certain_counts_do_not_differ_and_a_half_without_a_start_is_said() -> None:
    of = np.random.default_rng(0)
    assert halves_differ(counts((8, 8), (8, 8), (0, 8)), RATIO, of) == (0, 3)
    assert halves_differ(counts((1, 8), (4, 8)), RATIO, of) is None


def test_twice_the_rollouts_leave_fewer_wrong_labels() -> None:
    of = np.random.default_rng(3)
    several = [mended(counts((6, 8), (5, 8), (3, 8)), RATIO, of) for _ in range(DRAWS // 10)]
    now, then = (sum(wrong) for wrong in zip(*several, strict=True))
    assert 0 < then < now, "seed 3"


@pytest.mark.parametrize(
    ("mc", "group"), [(0.0, "0.0-0.2"), (0.2, "0.2-0.4"), (0.99, "0.8-1.0"), (1.0, "0.8-1.0")]
)
def test_a_value_is_in_one_group(mc: float, group: str) -> None:
    assert mc_range(mc) == group


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Build:
    build = Build(configure(tmp_path_factory.mktemp("noise")))
    asyncio.run(build.work())
    build.run.finish()
    return build


def test_what_is_counted_adds_up_to_what_the_commits_say(built: Build) -> None:
    found = noise(built.run)
    labels = [row for shard in built.run.shards_of(LABELS.stage)
              for row in built.run.read_rows(LABELS, shard)]  # fmt: skip
    assert found.whole.steps == sum(len(row.mc) - 1 for row in labels)
    assert sum(group.steps for group in found.by_mc.values()) == found.whole.steps
    selected = sum(row.selected for shard in built.run.shards_of(PATHS.stage)
                   for row in built.run.read_rows(PATHS, shard))  # fmt: skip
    levels = found.kept_by_level.values()
    assert sum(kept.selected for kept in levels) == selected
    assert sum(kept.problems for kept in levels) == built.run.spec.plan.items
    assert sum(kept.labelled for kept in levels) == len(labels)
    assert sum(kept.labelled for kept in found.kept_by_start.values()) == len(labels)
    assert sum(kept.kept for kept in levels) == built.run.totals(EXAMPLES.stage).rows
    dropped = sum((Counter(kept.dropped) for kept in levels), Counter[str]())
    told = Counter(
        {
            f"{stage}: {reason}": number
            for stage in built.run.spec.stages
            for reason, number in built.run.totals(stage).drops.items()
        }
    )
    assert dropped == told
    assert noise(built.run) == found, "nothing is drawn anew"


def test_it_is_shown_and_the_json_has_the_same_numbers(
    built: Build, capsys: pytest.CaptureFixture[str]
) -> None:
    show_noise(built.run, as_json=True)
    said = json.loads(capsys.readouterr().out)
    assert said["whole"]["steps"] == noise(built.run).whole.steps
    show_noise(built.run, as_json=False)
    assert "kept by MC(s_1)" in capsys.readouterr().out


@pytest.mark.parametrize(("level", "said"), [("Level 1", "Level 1"), ("5", "level 5")])
def test_a_level_is_called_a_level_once(level: str, said: str, built: Build) -> None:
    found = noise(built.run)
    table = noise_table(replace(found, by_level={(level, 8): found.whole}))
    assert str(next(iter(table.columns[0].cells))) == said


def test_labels_of_a_posterior_have_no_figures_that_are_made_of_counts(built: Build) -> None:
    spec = built.run.spec
    stages = {**spec.section("stages"), "label": {"estimate": "posterior"}}
    configuration = {**spec.configuration, "stages": stages}
    found = noise(replace(built.run, spec=replace(spec, configuration=configuration)))
    assert len(found.not_shown) == 3
    assert found.whole.halves == found.whole.relative == found.whole.between == 0


def test_labels_of_cut_rollouts_are_those_of_the_two_extremes() -> None:
    """State 1 has 4 of 8 that ended right, and 4 that were cut; state 2 nothing but cut ones."""
    states = [(8, 8, 8), (8, 4, 8), (8, 0, 8)]
    assert cut_labels(states, True, RATIO) == ([False, False, False], [True, True, True])
    assert cut_labels(states, None, RATIO) == ([False, False], [True, True]), "no answer behind"
    sure = [(8, 8, 8), (8, 2, 2)]
    assert cut_labels(sure, False, RATIO) == ([False, False], [False, False])


def test_the_report_has_both_bounds_of_what_was_cut(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of state 1 2 of 8 ended right and 4 were cut: its step is wrong, or right, by those alone."""
    whole = whole_run.rollouts

    def cut(of: SampledPath, state: int) -> StateRollouts:
        row = whole(of, state)
        answers = [AnswerCount("2", 2, True), AnswerCount(None, 6, False)]
        return replace(row, c=2, answers=answers, truncated=4) if state == 1 else row

    monkeypatch.setattr(whole_run, "rollouts", cut)
    run = whole_run.finished(MemoryStore())
    found = noise(run).whole
    shards = run.shards_of(ROLLOUTS.stage)
    labelled = {row.path_id for shard in shards for row in run.read_rows(LABELS, shard)}
    paths = len(labelled)
    rows = [row for shard in shards for row in run.read_rows(ROLLOUTS, shard)
            if row.path_id in labelled and not row.shared]  # fmt: skip
    assert (found.made, found.cut) == (sum(r.n for r in rows), sum(r.truncated for r in rows))
    assert (found.if_wrong, found.if_right, found.turned) == (paths, 0, paths)
    show_noise(run, as_json=False)
    assert "50.0 % of the labels turn" in capsys.readouterr().out.replace("\n", " ")


def test_rollouts_are_not_read_where_none_was_cut(
    built: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert built.run.totals(ROLLOUTS.stage).counts["truncated"] == 0
    read: list[str] = []
    rows_of = Run.read_rows

    def noted(run: Run, kind: Rows[Any], shard: int) -> list[Any]:
        read.append(kind.stage)
        return rows_of(run, kind, shard)

    monkeypatch.setattr(Run, "read_rows", noted)
    found = noise(built.run).whole
    assert LABELS.stage in read
    assert ROLLOUTS.stage not in read
    assert (found.made, found.cut) == (0, 0)


def test_a_run_without_labels_is_refused_in_one_line() -> None:
    run = started(MemoryStore())
    unlabelled = replace(run, spec=replace(run.spec, stages=("problems", "sample")))
    with pytest.raises(ConfigurationError, match="labels no steps"):
        noise(unlabelled)
