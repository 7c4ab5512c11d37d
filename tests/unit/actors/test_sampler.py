"""Stage `sample`: rounds, seeds, validity, duplicates, selection and drops."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from actors.engines.contract import Chat, EngineSettings
from actors.engines.healing import Healed, uncut_by
from actors.engines.scripted import Faults, ScriptedEngine
from actors.engines.token_ids import Spelling
from actors.workers.contract import ShardResult
from storage.errors import EngineFailed
from storage.rows.kinds import PROBLEMS, ShardRows
from storage.rows.records import Path, Problem
from storage.seeds import request_seed
from tests.support.built_tokenizers import qwen
from tests.support.kits import kit_of
from workflows.settings import SampleSettings
from workflows.stages.sample import SAMPLE, PolicySampler

SEED = 11
RIGHT = "add them.\n\nStep 2: so \\boxed{5}"
WRONG = "add them.\n\nStep 2: so \\boxed{6}"


def problem(name: str = "p") -> Problem:
    return Problem(problem_id=name, problem=f"{name}: 2 + 3?", answer="5")


def indices(name: str) -> Callable[[int], int]:
    """Seed of a sample -> its index within problem `name`."""
    base = request_seed(SEED, "sample", name, 0)
    return lambda seed: (seed - base) % (1 << 31)


def by_index(write: Callable[[int], str], name: str = "p") -> Callable[[Chat, int], str]:
    """A script that writes what `write` says for the sample's index."""
    index = indices(name)
    return lambda chat, seed: write(index(seed))


def sampler(
    script: Callable[[Chat, int], str], max_tokens: int = 50, **settings: int
) -> PolicySampler:
    defaults = {"correct": 2, "incorrect": 2, "first_round": 8, "round": 4, "cap": 40}
    engine = ScriptedEngine(script, EngineSettings(kind="scripted", part=3))
    asked = SampleSettings(max_tokens=max_tokens, **(defaults | settings))  # type: ignore[arg-type]
    return PolicySampler(kit_of(SAMPLE, engine, sample=asked, seed=SEED))


async def sample(stage: PolicySampler, *problems: Problem) -> ShardResult[Path]:
    return await stage.run(ShardRows({PROBLEMS: problems or (problem(),)}))


def distinct(text: str, index: int) -> str:
    return f"(try {index}) {text}"


async def test_sampling_stops_after_the_round_that_fills_both_quotas() -> None:
    stage = sampler(by_index(lambda i: distinct(RIGHT if i != 9 else WRONG, i)), incorrect=1)
    result = await sample(stage)
    assert [path.round for path in result.rows] == [0] * 8 + [1] * 4
    assert not result.drops


async def test_a_sample_has_the_same_seed_and_text_whatever_the_rounds() -> None:
    script = by_index(lambda i: distinct(RIGHT if i < 30 else WRONG, i))
    few = await sample(sampler(script, first_round=2, round=1, growth=0))
    many = await sample(sampler(script, first_round=16, round=16))
    by_id = {path.path_id: path for path in many.rows}
    assert len(few.rows) == 32
    for path in few.rows:
        twin = by_id[path.path_id]
        assert (path.seed, path.text) == (twin.seed, twin.text)
        assert path.seed == request_seed(SEED, "sample", "p", path.index)


async def test_a_path_is_what_the_policy_wrote_behind_a_healed_header() -> None:
    stage = sampler(by_index(lambda i: ("\n" if i % 2 else " ") + RIGHT))
    stage.kit = replace(stage.kit, opened=Healed(stage.kit.engine, uncut_by(Spelling(qwen()).ids)))
    paths = (await sample(stage)).rows
    assert [path.text for path in paths[:2]] == [f"Step 1: {RIGHT}", f"Step 1:\n{RIGHT}"]
    assert paths[0].steps == paths[1].steps == ["add them.", "so \\boxed{5}"]


@pytest.mark.parametrize(
    ("text", "max_tokens", "reason"),
    [
        pytest.param("add.\n\nStep 3: so \\boxed{5}", 50, "step_gap", id="step_gap"),
        pytest.param("\n\nStep 2: so \\boxed{5}", 50, "empty_step", id="empty_step"),
        pytest.param(RIGHT + " and on and on", 5, "truncated", id="cut_at_the_token_limit"),
        pytest.param("so \\boxed{5}", 50, "one_step", id="one_step"),
        pytest.param("add.\n\nStep 2: so 5", 50, "no_box", id="no_box"),
    ],
)
async def test_an_unusable_path_is_invalid_and_not_incorrect(
    text: str, max_tokens: int, reason: str
) -> None:
    stage = sampler(by_index(lambda i: text), max_tokens=max_tokens, cap=8)
    result = await sample(stage)
    assert {path.invalid_reason for path in result.rows} == {reason}
    assert not any(path.valid or path.selected for path in result.rows)
    assert result.counts["incorrect"] == 0
    assert result.counts["invalid"] == 1  # eight times the same text
    assert [drop.reason for drop in result.drops] == ["no_valid_path"]


async def test_a_truncated_text_is_never_correct_even_with_the_right_box() -> None:
    stage = sampler(by_index(lambda i: RIGHT + " and so on" * 9), max_tokens=8, cap=8)
    result = await sample(stage)
    assert [path.answer for path in result.rows] == ["5"] * 8
    assert not any(path.correct for path in result.rows)


async def test_duplicates_are_stored_and_never_selected_nor_counted_towards_the_quota() -> None:
    stage = sampler(by_index(lambda i: RIGHT if i % 2 else WRONG), cap=16)
    result = await sample(stage)
    assert len(result.rows) == 16
    assert [path.path_id for path in result.rows if path.selected] == ["p#0", "p#1"]
    assert {path.duplicate_of for path in result.rows[2:]} == {"p#0", "p#1"}
    assert result.counts["duplicates"] == 14


async def test_the_first_of_each_class_by_index_are_selected() -> None:
    stage = sampler(by_index(lambda i: distinct(RIGHT if i in (2, 5, 6) else WRONG, i)))
    result = await sample(stage)
    assert [path.index for path in result.rows if path.selected] == [0, 1, 2, 5]


@pytest.mark.parametrize(
    ("text", "reason"), [(RIGHT, "no_incorrect_path"), (WRONG, "no_correct_path")]
)
async def test_a_problem_without_both_classes_is_a_drop_and_its_paths_are_rows(
    text: str, reason: str
) -> None:
    stage = sampler(by_index(lambda i: distinct(text, i)), cap=10)
    result = await sample(stage)
    assert [(drop.item, drop.reason) for drop in result.drops] == [("p", reason)]
    assert len(result.rows) == 10
    assert result.counts["selected"] == 0
    assert result.counts["tokens"] == sum(path.tokens for path in result.rows) > 0


async def test_all_problems_of_a_shard_are_in_flight_at_once_and_rows_keep_their_order() -> None:
    problems = [problem(f"p{i}") for i in range(5)]
    seen: list[str] = []

    def script(chat: Chat, seed: int) -> str:
        name = chat.messages[-1].content.split(":")[0]
        seen.append(name)
        index = indices(name)(seed)
        return distinct(RIGHT if index % 2 else WRONG, index)

    result = await sample(sampler(script), *problems)
    assert set(seen[:30]) > {"p0", "p1"}
    assert [path.problem_id for path in result.rows] == [
        f"p{i}" for i in range(5) for _ in range(8)
    ]


async def test_text_and_steps_include_the_forced_first_header() -> None:
    result = await sample(sampler(by_index(lambda i: distinct(RIGHT if i else WRONG, i)), cap=8))
    path = result.rows[1]
    assert path.text.startswith("Step 1: (try 1) add them.")
    assert path.steps == ["(try 1) add them.", "so \\boxed{5}"]


async def test_a_crashed_engine_fails_the_shard_and_is_no_drop() -> None:
    stage = sampler(by_index(lambda i: RIGHT))
    crashing = ScriptedEngine(by_index(lambda i: RIGHT), faults=Faults(crash_at=0))
    stage.kit = replace(stage.kit, opened=crashing)
    with pytest.raises(EngineFailed):
        await sample(stage)
