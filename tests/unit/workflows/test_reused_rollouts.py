"""Rollouts as solutions: what a run keeps of them, what another takes, and what each says of MC."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path as Folder
from typing import Any

import pytest

from actors.engines.contract import Chat, EngineSettings
from actors.engines.scripted import ScriptedEngine
from actors.workers.contract import ShardResult
from storage.errors import ConfigurationError, InputError
from storage.objects.memory import MemoryStore
from storage.rows.kinds import PATHS, PROBLEMS, REUSED, ShardRows
from storage.rows.records import Origin, Path, Problem, Response, ReusedSolutions, StateRollouts
from storage.rows.schemas import from_table, to_table
from storage.seeds import request_seed
from tests.support.kits import kit_of
from tests.support.whole_run import finished
from workflows.inputs.given import read_reused
from workflows.sampling.quota import pass_at_1
from workflows.settings import (
    ConsensusSettings,
    EstimateSettings,
    LabelSettings,
    SampleSettings,
    StageSettings,
)
from workflows.stages.estimate import ESTIMATE, Completer
from workflows.stages.sample import SAMPLE, PolicySampler, check_reuse
from workflows.views.catalogue import view_of
from workflows.views.rollouts import RolledOut, rolled_out

PROBLEM, OTHER = Problem("p", "2 + 3?", "5"), Problem("q", "2 + 2?", "4")
FIRST = "Step 1: a\n\nStep 2: so \\boxed{5}"
RIGHT, WRONG = "b\n\nStep 2: so \\boxed{5}", "b\n\nStep 2: so \\boxed{6}"
Script = Callable[[Chat, int], str]


def path(text: str = FIRST, index: int = 0) -> Path:
    return Path(
        path_id=f"p#{index}", problem_id="p", index=index, round=0, text=text,
        steps=["a", "so \\boxed{5}"], finish_reason="stop", answer="5", correct=True, valid=True,
        invalid_reason=None, duplicate_of=None, selected=True, tokens=1, seed=0,
    )  # fmt: skip


def completer(script: Script, keep_texts: int, k: int = 4, seed: int = 0) -> Completer:
    asked = EstimateSettings(
        mc_budget="exact", k_hard=k, k_medium=k, k_easy=k, probe=min(k, 2), keep_texts=keep_texts
    )
    engine = ScriptedEngine(script, EngineSettings(kind="scripted"))
    return Completer(kit_of(ESTIMATE, engine, estimate=asked, seed=seed, model="completer"))


async def rolled(stage: Completer, *paths: Path) -> Sequence[StateRollouts]:
    result = await stage.run(ShardRows({PROBLEMS: (PROBLEM,), PATHS: paths}))
    return result.rows


def by_turns(chat: Chat, seed: int) -> str:
    """Right or wrong by the seed, and never the same text twice."""
    end = f"by {seed}, so \\boxed{{{5 + seed % 2}}}"
    return end if "Step 2: " in chat.prefill else f"b\n\nStep 2: {end}"


async def test_the_first_rollouts_of_each_state_keep_their_texts_whatever_their_answers() -> None:
    rows = await rolled(completer(by_turns, 3), path())
    for row in rows:
        assert row.kept is not None
        assert [each.index for each in row.kept] == [0, 1, 2], "also across probe and the rest"
        assert {each.correct for each in row.kept} == {True, False}
        for each in row.kept:
            assert each.text.startswith("Step 1: a\n\nStep 2: " if row.state else "Step 1: b")
            assert each.text.endswith(f"\\boxed{{{each.answer}}}")
    assert from_table(StateRollouts, to_table(StateRollouts, rows)) == list(rows)


async def test_a_rollout_that_two_paths_share_is_kept_once_and_without_the_setting_none_is() -> (
    None
):
    rows = await rolled(completer(by_turns, 2), path(), path(index=1))
    assert [(row.shared, row.kept is None) for row in rows] == [(False, False)] * 2 + [
        (True, True)
    ] * 2
    none = await rolled(completer(by_turns, 0), path())
    assert "kept" not in to_table(StateRollouts, none).column_names
    assert [replace(row, kept=None) for row in rows[:2]] == list(none), "and nothing else differs"


async def test_what_is_handed_out_is_in_the_order_of_states_and_indices_and_right_or_wrong() -> (
    None
):
    given = replace(path(), origin=Origin("zero", "p#9", 0, 0, "m", [5]))
    rows = await rolled(completer(by_turns, 2), given)
    found = rolled_out("one", 7, [PROBLEM], [given], rows)
    assert [(row.origin.state, row.origin.rollout) for row in found] == [
        (0, 0), (0, 1), (1, 0), (1, 1),
    ]  # fmt: skip
    assert {row.correct for row in found} == {True, False}
    assert {tuple(row.steps[:1]) for row in found if row.origin.state} == {("a",)}
    assert found[0].origin == Origin("one", "p#0", 0, 0, "completer", [5, 7]), "all that chose it"


async def test_what_has_not_the_form_of_a_path_is_not_handed_out() -> None:
    def script(chat: Chat, seed: int) -> str:
        return RIGHT if "Step 2" not in chat.prefill else "nothing in a box"

    rows = await rolled(completer(script, 2), path())
    assert [row.origin.state for row in rolled_out("one", 7, [PROBLEM], [path()], rows)] == [0, 0]


def test_a_run_that_kept_none_has_no_such_view() -> None:
    with pytest.raises(ConfigurationError, match=r"kept no rollouts.*estimate\.keep_texts") as told:
        view_of("rollouts", finished(MemoryStore()))
    assert "\n" not in str(told.value)


def handed(*rows: RolledOut | dict[str, Any], folder: Folder) -> str:
    def plain(value: Any) -> Any:
        fields = getattr(value, "__dataclass_fields__", None)
        return value if fields is None else {name: plain(getattr(value, name)) for name in fields}

    file = folder / "rollouts.jsonl"
    file.write_text("".join(json.dumps(plain(row)) + "\n" for row in rows))
    return str(file)


async def test_what_was_handed_out_is_read_with_its_origin_and_every_problem_has_a_row(
    tmp_path: Folder,
) -> None:
    rows = rolled_out("one", 7, [PROBLEM], [path()], await rolled(completer(by_turns, 2), path()))
    read = read_reused(handed(*rows, folder=tmp_path), [OTHER, PROBLEM])
    other, mine = read.by_problem
    assert other == ReusedSolutions("q", [], [])
    assert isinstance(mine, ReusedSolutions)
    assert [each.steps for each in mine.solutions] == [row.steps for row in rows]
    assert mine.origins == [row.origin for row in rows]
    assert read.said.endswith("4 rollouts of 1 problems, of run one")


@pytest.mark.parametrize("origin", [None, {"run": "one"}, "one"])
def test_a_solution_without_origin_is_refused_in_one_line(origin: Any, tmp_path: Folder) -> None:
    row = {"problem_id": "p", "steps": ["a", "\\boxed{5}"], "origin": origin}
    with pytest.raises(InputError, match=r"--view rollouts.*leave .* out") as e:
        read_reused(handed(row, folder=tmp_path), [PROBLEM])
    assert "\n" not in str(e.value)


def reused(*answers: str) -> ReusedSolutions:
    solutions = [
        Response(f"r{n}", "p", PROBLEM.problem, ["b", f"({n}) \\boxed{{{end}}}"], "", answer=end)
        for n, end in enumerate(answers)
    ]
    return ReusedSolutions(
        "p", solutions, [Origin("one", "p#0", 0, n, "completer", [7]) for n in range(len(answers))]
    )


async def sampled(
    given: ReusedSolutions | None, script: Script, **settings: Any
) -> ShardResult[Path]:
    asked = {"correct": 2, "incorrect": 2, "first_round": 4, "round": 2, "cap": 8, **settings}
    stage = PolicySampler(
        kit_of(
            SAMPLE,
            ScriptedEngine(script, EngineSettings(kind="scripted")),
            sample=SampleSettings(reuse_rollouts=given is not None, **asked),
            seed=3,
        )
    )
    rows: dict[Any, Any] = {PROBLEMS: (PROBLEM,)}
    return await stage.run(ShardRows(rows | ({REUSED: (given,)} if given else {})))


def own(paths: Sequence[Path]) -> list[Path]:
    return [each for each in paths if each.origin is None]


def always(text: str) -> Script:
    return lambda chat, seed: f"({seed}) {text}"


async def test_full_quotas_ask_the_policy_for_nothing_and_say_nothing_of_it() -> None:
    result = await sampled(reused("5", "6", "6", "5", "6"), always(RIGHT))
    assert own(result.rows) == []
    assert [each.selected for each in result.rows] == [True, True, True, True, False]
    assert [each.origin and each.origin.rollout for each in result.rows] == [0, 1, 2, 3, 4]
    assert pass_at_1(result.rows) != pass_at_1(result.rows), "not known: NaN"
    assert (result.counts["tokens"], result.counts["sampled"], result.counts["reused"]) == (0, 0, 5)
    assert from_table(Path, to_table(Path, result.rows)) == list(result.rows)


async def test_the_policy_fills_what_is_missing_from_the_samples_that_it_always_has() -> None:
    alone = await sampled(None, always(RIGHT))
    result = await sampled(reused("6", "6", "5"), always(RIGHT))
    assert len(own(alone.rows)) == 8, "it never finds a wrong one"
    drawn = own(result.rows)
    assert [(each.seed, each.text, each.round) for each in drawn] == [
        (each.seed, each.text, each.round) for each in alone.rows[:4]
    ]
    assert [each.path_id for each in drawn] == [f"p#{n}" for n in range(3, 7)]
    assert drawn[0].seed == request_seed(3, "sample", "p", 0)
    assert [each.path_id for each in result.rows if each.selected] == ["p#0", "p#1", "p#2", "p#3"]
    assert (alone.drops[0].reason, result.drops) == ("no_incorrect_path", ())


async def test_pass_at_1_cap_and_counts_are_of_the_policys_own_samples() -> None:
    result = await sampled(reused("5", "5", "5"), always(RIGHT), first_round=6)
    assert len(own(result.rows)) == 8, "the cap, beside three that were reused"
    assert pass_at_1(result.rows) == 1.0
    wrong = await sampled(reused("5", "5", "5"), always(WRONG))
    assert pass_at_1(wrong.rows) == 0.0
    assert wrong.counts["correct"] == 0
    assert not wrong.drops


async def test_a_problem_that_the_policy_must_solve_has_its_first_round_all_the_same() -> None:
    full = reused("5", "6", "6", "5")
    result = await sampled(full, always(WRONG), least_pass_at_1=0.1)
    assert [len(own(result.rows)), result.drops[0].reason] == [4, "pass_at_1_low"]
    assert not (await sampled(full, always(RIGHT), least_pass_at_1=0.1)).drops


async def test_a_sample_with_the_text_of_a_reused_rollout_is_its_copy() -> None:
    given = reused("5")
    result = await sampled(given, lambda chat, seed: "b\n\nStep 2: (0) \\boxed{5}")
    assert {each.duplicate_of for each in own(result.rows)} == {"p#0"}


SHORT = ("sample", "estimate", "label", "consensus", "export")


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({}, "those of `genprm`"),
        ({"road": ("reused", *StageSettings().road)}, "those of `genprm`"),
        ({"road": ("sample", "search", "consensus")}, "stage `search` takes each solution for a r"),
        ({"road": SHORT, "sample": {"select": "all"}}, "fills quotas"),
        ({"road": SHORT, "sample": {"budget": "knapsack"}}, "fills quotas"),
    ],
)
def test_where_the_method_forbids_it_one_line_says_what_to_change(
    changed: dict[str, Any], said: str
) -> None:
    sample = SampleSettings(reuse_rollouts=True, **changed.pop("sample", {}))
    with pytest.raises(ConfigurationError, match=said) as told:
        check_reuse(StageSettings(sample=sample, **changed))
    assert "leave it out" in str(told.value)
    assert "\n" not in str(told.value)
    check_reuse(StageSettings(sample=replace(sample, reuse_rollouts=False), **changed))


@pytest.mark.parametrize(
    "other",
    [
        {"road": SHORT},
        {"label": LabelSettings(form="hard")},
        {"consensus": ConsensusSettings(rule="first_error")},
    ],
)
def test_other_strategies_may_reuse(other: dict[str, Any]) -> None:
    check_reuse(StageSettings(sample=SampleSettings(reuse_rollouts=True), **other))


# A world of which MC is known: the first step is `a` or `b`, and each has its own chance.
FIRST_A, RIGHT_FROM = 0.5, {"a": 0.35, "b": 0.1}
MC = {(): 0.225, **{(step,): chance for step, chance in RIGHT_FROM.items()}}


def of_known_mc(chat: Chat, seed: int) -> str:
    rng = random.Random(f"{chat.prefill}/{seed}")
    begun = chat.prefill.removeprefix("Step 1: ")[:1]
    step = begun or ("a" if rng.random() < FIRST_A else "b")
    end = f"\\boxed{{{5 if rng.random() < RIGHT_FROM[step] else 6}}}"
    return end if begun else f"{step}\n\nStep 2: {end}"


async def off_by(fresh: bool, runs: int = 250, k: int = 4) -> dict[int, float]:
    """State -> how many standard deviations of all rollouts their right ones are off."""
    right, due, variance = ({0: 0.0, 1: 0.0} for _ in range(3))
    for seed in range(runs):
        first = await rolled(completer(of_known_mc, k, k, seed), path())
        found = rolled_out("one", seed, [PROBLEM], [path()], first)
        given = ReusedSolutions(
            "p",
            [Response("", "p", "", row.steps, "", answer=row.answer) for row in found],
            [row.origin for row in found],
        )
        taken = await sampled(given, always(WRONG), correct=1, incorrect=1)
        chosen = [each for each in taken.rows if each.selected and each.correct]
        again = completer(of_known_mc, 0, k, seed + runs if fresh else seed)
        for row in await rolled(again, *chosen) if chosen else ():
            mc = MC[tuple(chosen[0].steps[: row.state])]
            right[row.state] += row.c
            due[row.state] += row.n * mc
            variance[row.state] += row.n * mc * (1 - mc)
    return {state: (right[state] - due[state]) / variance[state] ** 0.5 for state in right}


async def test_mc_of_reused_paths_is_unbiased_and_with_the_first_runs_seed_it_is_not() -> None:
    """A rollout that was chosen for its answer is no evidence for its own beginning."""
    fresh = await off_by(fresh=True)
    assert all(abs(off) < 4 for off in fresh.values()), f"seeds 0 to 499: {fresh}"
    again = await off_by(fresh=False)
    assert again[0] > 6, f"seeds 0 to 249: {again}"
