"""Stage `estimate`: K, early stopping, sharing, counts and drops."""

from __future__ import annotations

import asyncio
import random
import re
from collections.abc import Callable
from dataclasses import replace

import pytest

from actors.engines.contract import Chat, EngineSettings, Reply, Sampling
from actors.engines.scripted import Faults, ScriptedEngine
from actors.workers.contract import ShardResult
from storage.errors import EngineFailed, ItemError
from storage.rows.kinds import PATHS, PROBLEMS, ShardRows
from storage.rows.records import Message, Path, Problem, StateRollouts
from tests.support.kits import kit_of
from workflows.settings import EstimateSettings
from workflows.stages.estimate import ESTIMATE, Completer

RIGHT, WRONG = "so \\boxed{5}", "so \\boxed{6}"
PROBLEM = Problem(problem_id="p", problem="2 + 3?", answer="5")


def begun(prefill: str) -> str:
    """The steps of a prefill, without the headers that are ours."""
    written = prefill.rpartition("Step ")[0].split("\n\n")
    return "|".join(re.sub(r"^Step \d+: ", "", part) for part in written if part)


class CountingEngine(ScriptedEngine):
    """Remembers the beginning and size of every request, in order; its script sees no more."""

    asked: list[tuple[str, int]]

    async def generate(self, chat: Chat, sampling: Sampling) -> Reply:
        chat = Chat((chat.messages[-1],), begun(chat.prefill))
        self.asked.append((chat.prefill, sampling.n))
        return await super().generate(chat, sampling)


def path(name: str, *steps: str, selected: bool = True, text: str = "") -> Path:
    return Path(
        path_id=name, problem_id="p", index=0, round=0, text=text, steps=list(steps),
        finish_reason="stop", answer="5", correct=True, valid=True, invalid_reason=None,
        duplicate_of=None, selected=selected, tokens=1, seed=0,
    )  # fmt: skip


def completer(
    script: Callable[[Chat, int], str],
    *,
    faults: Faults | None = None,
    max_tokens: int = 50,
    max_model_len: int | None = None,
    **settings: object,
) -> Completer:
    defaults: dict[str, object] = {"k_hard": 16, "k_medium": 8, "k_easy": 4, "probe": 4}
    engine = CountingEngine(
        script, EngineSettings(kind="scripted", max_model_len=max_model_len), faults=faults
    )
    engine.asked = []
    asked = EstimateSettings(max_tokens=max_tokens, **(defaults | settings))  # type: ignore[arg-type]
    return Completer(kit_of(ESTIMATE, engine, estimate=asked, seed=7))


async def estimate(stage: Completer, *paths: Path) -> ShardResult[StateRollouts]:
    return await stage.run(ShardRows({PROBLEMS: (PROBLEM,), PATHS: paths}))


def asked(stage: Completer) -> list[tuple[str, int]]:
    engine = stage.kit.engine
    assert isinstance(engine, CountingEngine)
    return engine.asked


def half(chat: Chat, seed: int) -> str:
    return RIGHT if seed % 2 else WRONG


@pytest.mark.parametrize(
    ("script", "k"),
    [
        pytest.param(lambda chat, seed: RIGHT, 4, id="easy_1.0_included"),
        pytest.param(half, 8, id="medium"),
    ],
)
async def test_the_probe_chooses_k_for_all_states_of_a_problem(
    script: Callable[[Chat, int], str], k: int
) -> None:
    result = await estimate(completer(script), path("p#0", "a", "b", "c"))
    assert [(row.state, row.n) for row in result.rows] == [(0, k), (1, k), (2, k)]


async def test_a_hard_problem_gets_the_largest_k_and_probe_and_top_up_are_one_row() -> None:
    stage = completer(lambda chat, seed: RIGHT if chat.prefill else WRONG, probe=4)
    seeds: list[int] = []

    def late(chat: Chat, seed: int) -> str:
        if not chat.prefill and seed not in seeds:
            seeds.append(seed)
        return RIGHT if chat.prefill or seeds.index(seed) == 11 else WRONG

    stage = completer(late)
    result = await estimate(stage, path("p#0", "a", "b"))
    assert asked(stage)[:2] == [("", 4), ("", 12)]
    assert seeds == list(range(seeds[0], seeds[0] + 16)), "one run of seeds over both requests"
    first, second = result.rows
    assert (first.n, first.c, first.seed) == (16, 1, seeds[0])
    assert second.n == 16


async def test_no_state_is_rolled_out_after_the_first_zero() -> None:
    def script(chat: Chat, seed: int) -> str:
        return WRONG if "bad" in chat.prefill else RIGHT

    result = await estimate(completer(script), path("p#0", "a", "bad", "c", "d"))
    assert [(row.state, row.c) for row in result.rows] == [(0, 4), (1, 4), (2, 0)]
    assert {row.stop_rule for row in result.rows} == {"exact_zero_stop"}
    exact = await estimate(completer(script, mc_budget="exact"), path("p#0", "a", "bad", "c", "d"))
    assert [(row.state, row.c) for row in exact.rows] == [(0, 4), (1, 4), (2, 0), (3, 0)]
    assert exact.rows[:2] == tuple(
        StateRollouts(**{f: getattr(row, f) for f in row.__slots__} | {"stop_rule": "exact"})
        for row in result.rows[:2]
    ), "both budgets see the same rollouts"


async def test_the_last_state_is_never_rolled_out() -> None:
    stage = completer(lambda chat, seed: RIGHT)
    await estimate(stage, path("p#0", "a", "b"))
    assert [prompt for prompt, _ in asked(stage)] == ["", "a"]


async def test_a_problem_that_is_never_solved_drops_its_paths_and_keeps_the_rows() -> None:
    stage = completer(lambda chat, seed: WRONG)
    result = await estimate(stage, path("p#0", "a", "b"), path("p#1", "c", "d"))
    assert [(drop.item, drop.reason) for drop in result.drops] == [
        ("p#0", "mc_zero_start"),
        ("p#1", "mc_zero_start"),
    ]
    assert [(row.path_id, row.state, row.n, row.c) for row in result.rows] == [
        ("p#0", 0, 16, 0),
        ("p#1", 0, 16, 0),
    ]


async def test_paths_with_the_same_beginning_share_its_rollouts_and_the_first_one_pays() -> None:
    stage = completer(half)
    result = await estimate(
        stage, path("p#0", "a", "b", "c"), path("p#1", "a", "x", "y"), path("p#2", "z", "b", "c")
    )
    rows = {(row.path_id, row.state): row for row in result.rows}
    assert sorted(prompt for prompt, _ in asked(stage)) == ["", "", "a", "a|b", "a|x", "z", "z|b"]
    assert [key for key, row in rows.items() if row.shared] == [
        ("p#1", 0), ("p#1", 1), ("p#2", 0),
    ]  # fmt: skip
    for row in result.rows:
        assert row.shared == (row.tokens == 0)
    one, two = rows["p#0", 1], rows["p#1", 1]
    assert (one.n, one.c, one.answers, one.seed) == (two.n, two.c, two.answers, two.seed)
    assert result.counts["rollouts"] == 6 * 8
    assert result.counts["tokens"] == sum(row.tokens for row in result.rows)


async def test_the_same_steps_written_otherwise_are_another_state() -> None:
    stage = completer(half)
    await estimate(
        stage, path("p#0", "a", "b"), path("p#1", "a", "c", text="**Step 1** a\n\n**Step 2** c")
    )
    assert sorted(prompt for prompt, _ in asked(stage)) == ["", "", "**Step 1** a", "a"]


async def test_cut_and_boxless_rollouts_are_wrong() -> None:
    def script(chat: Chat, seed: int) -> str:
        kind = seed % 4 if chat.prefill else 0
        return [RIGHT, RIGHT + " and on and on and on", "so 5", WRONG][kind]

    result = await estimate(completer(script, max_tokens=4), path("p#0", "a", "b"))
    row = result.rows[1]
    assert (row.n, row.c, row.truncated) == (4, 1, 1)
    assert [(a.answer, a.count, a.correct) for a in row.answers] == [
        (None, 2, False),
        ("5", 1, True),
        ("6", 1, False),
    ]
    assert row.c == sum(a.count for a in row.answers if a.correct)
    assert row.n == sum(a.count for a in row.answers)


async def test_a_box_in_the_prefix_is_no_answer_of_a_rollout() -> None:
    result = await estimate(
        completer(lambda chat, seed: "hm" if chat.prefill else RIGHT),
        path("p#0", "so \\boxed{5}", "b"),
    )
    assert result.rows[1].c == 0


async def test_only_selected_paths_get_rows() -> None:
    result = await estimate(
        completer(half), path("p#0", "a", "b", selected=False), path("p#1", "a", "b")
    )
    assert {row.path_id for row in result.rows} == {"p#1"}


async def test_a_repeated_shard_has_the_same_rows() -> None:
    paths = [path(f"p#{i}", "a", f"b{i % 3}", "c", "d") for i in range(6)]
    assert (await estimate(completer(half), *paths)) == (await estimate(completer(half), *paths))


async def test_a_prefix_that_fills_the_context_drops_its_path_alone() -> None:
    stage = completer(half, max_model_len=8)
    result = await estimate(stage, path("p#0", "a", "b"), path("p#1", "a " * 9, "b"))
    assert [(drop.item, drop.reason) for drop in result.drops] == [("p#1", "too_long")]
    assert [(row.path_id, row.state) for row in result.rows] == [
        ("p#0", 0),
        ("p#0", 1),
        ("p#1", 0),
    ]


@pytest.mark.parametrize("budget", ["first_success", "binary_search"])
@pytest.mark.parametrize("k", [8, 16, 32])
async def test_hard_labels_find_an_error_just_where_all_k_rollouts_behind_it_fail(
    budget: str, k: int
) -> None:
    """One rollout in sixteen is right all the same: more rollouts find fewer errors."""

    def script(chat: Chat, seed: int) -> str:
        return WRONG if "bad" in chat.prefill and random.Random(seed).random() > 1 / 16 else RIGHT

    stage = completer(script, mc_budget=budget, k_hard=k, k_medium=k, k_easy=k, batch=4)
    paths = [replace(path(f"p#{i}", f"a{i}", "bad", "c", "d"), correct=False) for i in range(300)]
    rows = (await estimate(stage, *paths)).rows
    right = {row.path_id for row in rows if row.state == 2 and row.c}
    expected = (15 / 16) ** k
    assert 1 - len(right) / 300 == pytest.approx(expected, abs=0.1)


def to_the_end(chat: Chat, seed: int) -> str:
    """Goes on after the steps so far, with the words that they lack of eight, three at least."""
    return "on " * max(1, 6 - len(chat.prefill.replace("|", " ").split())) + RIGHT


LONG = path("p#1", "a " * 4, "b " * 2, "c " * 2, "so \\boxed{5} at last")


@pytest.mark.parametrize("budget", ["exact", "exact_zero_stop"])
async def test_a_path_that_its_context_can_not_hold_is_dropped_and_not_called_wrong(
    budget: str,
) -> None:
    stage = completer(to_the_end, max_model_len=11, mc_budget=budget)
    result = await estimate(stage, path("p#0", "a", "b", "c"), LONG)
    assert [(drop.item, drop.reason) for drop in result.drops] == [("p#1", "too_long")]
    assert "room for" in result.drops[0].detail
    assert [row.c for row in result.rows if row.path_id == "p#0"] == [4, 4, 4]


async def test_a_path_that_just_fits_has_the_counts_that_it_has_with_more_room() -> None:
    tight = await estimate(completer(to_the_end, max_model_len=16, mc_budget="exact"), LONG)
    wide = await estimate(completer(to_the_end, max_model_len=500, mc_budget="exact"), LONG)
    assert tight == wide
    assert not tight.drops


async def test_a_path_that_the_token_limit_cuts_is_no_matter_of_the_context() -> None:
    result = await estimate(completer(to_the_end, max_tokens=3, max_model_len=500), LONG)
    assert [drop.reason for drop in result.drops] == ["mc_zero_start"]


async def test_a_crashed_engine_fails_the_shard_and_leaves_no_task_behind() -> None:
    stage = completer(half, faults=Faults(crash_at=3))
    before = asyncio.all_tasks()
    with pytest.raises(EngineFailed):
        await estimate(stage, *(path(f"p#{i}", f"a{i}", "b", "c") for i in range(5)))
    assert asyncio.all_tasks() == before


async def test_item_errors_are_told_apart_by_reason() -> None:
    with pytest.raises(ItemError, match="too_long"):
        await completer(half, max_model_len=2).kit.engine.generate(
            Chat((Message("user", "one two three"),)), Sampling()
        )
