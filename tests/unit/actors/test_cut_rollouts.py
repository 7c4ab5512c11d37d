"""Rollouts that were cut at the token limit: what they count as, and what is refused."""

from __future__ import annotations

from dataclasses import replace
from itertools import cycle
from typing import Any

import pytest
import yaml

from actors.engines.contract import Chat, EngineSettings
from actors.engines.scripted import ScriptedEngine
from actors.workers.contract import ShardResult
from storage.errors import ConfigurationError
from storage.rows.kinds import PATHS, PROBLEMS, ROLLOUTS, ShardRows
from storage.rows.records import Path, Problem, StateRollouts
from storage.rows.schemas import from_table, to_table
from tests.support.kits import kit_of
from tests.unit.test_house import ROOT
from workflows.answers.last_number import last_number
from workflows.estimation.cut import check_cut
from workflows.settings import EstimateSettings, LabelSettings, StageSettings
from workflows.stages.estimate import ESTIMATE, Completer
from workflows.stages.label import LabelStage, state_values

PROBLEM = Problem(problem_id="p", problem="2 + 3?", answer="5")
PATH = Path(
    path_id="p#0", problem_id="p", index=0, round=0, text="", steps=["a", "b", "c"],
    finish_reason="stop", answer="5", correct=True, valid=True, invalid_reason=None,
    duplicate_of=None, selected=True, tokens=1, seed=0,
)  # fmt: skip
RIGHT, WRONG = "so \\boxed{5}", "so \\boxed{6}"
CUT_AT_5, CUT_AT_6, CUT_AT_NONE = "it is 5 and on and", "it is 6 and on and", "on and on and on and"
CUTS = ("wrong", "last_number", "censored")


def rolled(*ends: str, **settings: Any) -> Completer:
    """A completer whose rollouts of a state behind the problem end so, one after the other."""
    ending = cycle(ends)

    def script(chat: Chat, seed: int) -> str:
        return next(ending) if chat.prefill.count("Step") > 1 else RIGHT

    engine = ScriptedEngine(script, EngineSettings(kind="scripted"))
    asked = EstimateSettings(max_tokens=5, k_easy=4, probe=4, mc_budget="exact", **settings)
    return Completer(kit_of(ESTIMATE, engine, estimate=asked, seed=7))


async def estimated(completer: Completer) -> ShardResult[StateRollouts]:
    return await completer.run(ShardRows({PROBLEMS: (PROBLEM,), PATHS: (PATH,)}))


@pytest.mark.parametrize(
    ("cut", "mc"), [("wrong", 1 / 4), ("last_number", 2 / 4), ("censored", 1 / 2)]
)
async def test_a_cut_rollout_is_wrong_or_its_last_number_or_no_rollout(cut: str, mc: float) -> None:
    result = await estimated(rolled(RIGHT, WRONG, CUT_AT_5, CUT_AT_6, cut=cut))
    row = result.rows[1]
    assert (row.n, row.truncated, row.bounds) == (4, 2, (1, 3)), "what was seen is the same"
    assert row.c / row.counted == mc
    assert state_values(PATH, result.rows)[1][1] == mc
    assert row.contradiction is None
    assert (row.cut, row.cut_right) == {
        "wrong": (None, None), "last_number": ("last_number", 1), "censored": ("censored", None),
    }[cut]  # fmt: skip


async def test_a_state_of_which_all_rollouts_are_cut_says_nothing_and_ends_its_path() -> None:
    ends = (CUT_AT_5, CUT_AT_6, CUT_AT_NONE)
    result = await estimated(rolled(*ends, cut="censored"))
    assert [(drop.item, drop.reason) for drop in result.drops] == [("p#0", "all_cut")]
    assert [row.counted for row in result.rows] == [4, 0, 0], "what was paid for is kept"
    labelled = await LabelStage(LabelSettings()).run(
        ShardRows({PATHS: (PATH,), ROLLOUTS: result.rows})
    )
    assert (labelled.rows, labelled.drops) == ((), ()), "its reason was counted once"
    wrong = await estimated(rolled(*ends))
    assert not wrong.drops


async def test_a_problem_whose_every_rollout_is_cut_has_no_start() -> None:
    stage = rolled(RIGHT, cut="censored")
    stage.kit.engine._script = lambda chat, seed: CUT_AT_NONE  # type: ignore[union-attr]
    result = await estimated(stage)
    assert [drop.reason for drop in result.drops] == ["mc_zero_start"]
    assert [(row.n, row.counted) for row in result.rows] == [(128, 0)], "as many as of MC 0"


async def test_rows_that_take_cut_ones_for_wrong_are_stored_as_they_were() -> None:
    as_wrong = await estimated(rolled(RIGHT, CUT_AT_5))
    assert not {"cut", "cut_right"} & set(to_table(StateRollouts, as_wrong.rows).column_names)
    for cut in CUTS:
        rows = (await estimated(rolled(RIGHT, CUT_AT_5, cut=cut))).rows
        assert from_table(StateRollouts, to_table(StateRollouts, rows)) == list(rows)


async def test_counts_that_do_not_add_up_are_seen_in_the_row_alone() -> None:
    row = (await estimated(rolled(RIGHT, CUT_AT_5, cut="last_number"))).rows[1]
    assert row.contradiction is None
    assert replace(row, n=3).contradiction == "answers of 4 rollouts, 3 made"
    assert replace(row, c=1).contradiction == "4 right answers, 1 right rollouts"
    assert replace(row, truncated=1).contradiction == "2 right of 1 that were cut"


@pytest.mark.parametrize(
    ("text", "number"),
    [("2 + 3 = 5, so", "5"), ("it is 1,234 and", "1234"), ("-0.5 of it", "-0.5"), ("3/4", "4"),
     ("no digit", None)],
)  # fmt: skip
def test_the_last_number_is_read_as_the_release_reads_it(text: str, number: str | None) -> None:
    assert last_number(text) == number


async def test_a_closed_box_comes_before_a_later_number() -> None:
    rows = (await estimated(rolled("\\boxed{5} of 7 and on and", cut="last_number"))).rows
    assert rows[1].cut_right == 4


@pytest.mark.parametrize(
    ("settings", "road", "said"),
    [
        (dict(cut="censored", mc_budget="adaptive"), (), "ask for them again"),
        (dict(cut="last_number", start="policy"), (), "texts are gone"),
        (dict(cut="censored"), ("estimate", "pit"), "stage `pit`"),
        (dict(cut="last_number"), ("sample", "search"), "stage `search`"),
    ],
)
def test_what_can_not_read_them_otherwise_is_refused_in_one_line(
    settings: dict[str, Any], road: tuple[str, ...], said: str
) -> None:
    with pytest.raises(ConfigurationError, match=said) as refused:
        check_cut(EstimateSettings(**settings), road)
    assert "\n" not in str(refused.value)
    check_cut(EstimateSettings(**settings | {"cut": "wrong"}), road)


@pytest.mark.parametrize("file", ["genprm.yaml", "strategies/genprm.yaml"])
def test_genprm_takes_cut_rollouts_for_wrong(file: str) -> None:
    given = yaml.safe_load((ROOT / "configs" / file).read_text())["stages"]
    assert given["estimate"].get("cut", StageSettings().estimate.cut) == "wrong"
