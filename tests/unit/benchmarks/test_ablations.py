"""The ablations' configurations: valid, derivable without a model, and as the paper has them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks import loop
from benchmarks.ablations import (
    BEFORE,
    DEMO,
    PAPER,
    PARTS,
    Ablation,
    ablations,
    build_file,
    commands,
    draw,
    figures,
    merged,
    table_of,
)
from launch.config import load
from workflows.evaluation.run import MODES
from workflows.views.catalogue import VIEWS

PURE = {"label", "consensus"}


@pytest.mark.parametrize("name", [one.name for one in ablations()])
def test_only_settings_that_need_no_model_differ_from_the_demo(name: str, tmp_path: Path) -> None:
    (one,) = ablations([name])
    demo = load(DEMO).binding["stages"]
    changed = load(build_file(one, tmp_path)).binding["stages"]
    differing = {stage for stage in demo if demo[stage] != changed[stage]}
    assert differing <= PURE
    assert bool(differing) == bool(one.stages) == (one.run != "demo")
    assert one.view in VIEWS
    assert one.mode in MODES


def test_every_row_of_the_papers_tables_is_there() -> None:
    assert set(PAPER) <= {one.name for one in ablations()}


def test_ablations_that_train_on_the_same_share_a_model() -> None:
    by_name = {one.name: one for one in ablations()}
    assert by_name["both"].model == by_name["both_not_run"].model == by_name["ratio_0.8"].model
    assert by_name["hard"].model != by_name["both"].model


def test_a_change_reaches_its_leaf_and_nothing_else() -> None:
    base = {"a": {"b": 1, "c": 2}, "d": 3}
    assert merged(base, {"a": {"b": 9}}) == {"a": {"b": 9, "c": 2}, "d": 3}
    assert base == {"a": {"b": 1, "c": 2}, "d": 3}


def test_the_commands_are_derive_train_evaluate(tmp_path: Path) -> None:
    hard, both = ablations(["hard", "both"])

    def verbs(one: Ablation) -> list[str]:
        found = commands(one, tmp_path, tmp_path, "file:s", 4)
        return [command.arguments[1] for command in found]

    assert verbs(hard) == ["build", "train", "evaluate"]
    assert verbs(both) == ["train", "evaluate"]
    (tmp_path / both.model).mkdir()
    assert verbs(both) == ["evaluate"], "the loop's model is the same"


def test_tables_and_figures_come_from_what_was_measured(tmp_path: Path) -> None:
    found = ablations(["ratio_0.8", "ratio_1.0", "both", "none"])
    measured = ("ratio_0.8", "ratio_1.0", "both")
    for place, name in enumerate(measured):
        measures = [
            {"subset": subset, "measure": measure, "k": k, "value": value}
            for subset, shift in (("", 0.0), ("easy", 0.2))
            for k in (1, 4)
            for measure, value in (("f1", 0.5 + place / 10 + k / 100 + shift), ("f1_spread", 0.02))
        ]
        (tmp_path / name).mkdir()
        (tmp_path / name / "measures.json").write_text(json.dumps({"measures": measures}))
    rows = figures(found, tmp_path, 4)
    assert [(row.name, row.k) for row in rows] == [(name, k) for name in measured for k in (1, 4)]
    assert [round(row.f1) for row in rows] == [51, 54, 61, 64, 71, 74]
    assert (rows[1].paper, rows[1].spread) == (80.5, 2.0)
    assert table_of(rows[:4], 4).row_count == 2
    drawn = draw(rows, tmp_path, tmp_path / "loop")
    assert [file.name for file in drawn] == ["labels.png", "components.png"]
    bon = [
        {"verifier": "verifier", "measure": measure, "k": k, "value": k / 10}
        for measure in ("argmax_min", "vote_min", "majority", "pass_at_n")
        for k in (1, 2, 4)
    ]
    turns = [{"turn": turn, "accuracy": turn / 10} for turn in range(3)]
    for part, made in (("bon/measures.json", {"measures": bon}), ("refinement/turns.json", turns)):
        (tmp_path / "loop" / part).parent.mkdir(parents=True)
        (tmp_path / "loop" / part).write_text(json.dumps(made))
    drawn = draw(rows, tmp_path, tmp_path / "loop")[2:]
    assert [file.name for file in drawn] == ["figure3_best_of_n.png", "figure4_refinement.png"]


def test_the_parts_of_the_loop_that_are_wanted_are_there(tmp_path: Path) -> None:
    parts = [command.what for command in loop.commands(tmp_path, "file:s", tmp_path / "p")]
    assert {*BEFORE, *PARTS} < {*parts}


def test_an_unknown_name_is_said() -> None:
    with pytest.raises(SystemExit, match="no ablation 'hardest'; there are"):
        ablations(["hardest"])
