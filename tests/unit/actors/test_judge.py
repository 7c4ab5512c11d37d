"""The judge, the repairer and its trial: what is asked, with which seeds, and what is stored."""

from __future__ import annotations

from collections.abc import Sequence

from actors.engines.contract import Chat
from actors.engines.scripted import ScriptedEngine
from storage.rows.kinds import AGREEMENTS, LABELS, PATHS, PROBLEMS, REPAIRED, ShardRows
from storage.rows.records import Agreement, Message, Problem
from tests.support.kits import kit_of
from tests.support.label_rows import path
from workflows.judging.seats import Opinion
from workflows.settings import JudgeSettings, RepairSettings
from workflows.stages.judge import JUDGE, Judge
from workflows.stages.repair import REPAIR, RETRY, Repairer, Retrial

PROBLEM = Problem("p", "What?", "1")


class Plain:
    """A seat whose verdict is the last letter of the text."""

    prompt, sees = "plain", "none"

    def chat(self, problem: Problem, steps: Sequence[str]) -> Chat:
        return Chat((Message("user", problem.problem + "|" + "|".join(steps)),), "")

    def read(self, text: str, steps: int) -> Opinion:
        return Opinion([text] * steps, [text.endswith("y")] * steps, None)

    def critique_chat(self, problem: Problem, steps: Sequence[str], verification: str) -> Chat:
        return Chat((Message("user", f"criticise {verification}"),), "")

    def merge_chat(
        self, problem: Problem, steps: Sequence[str], verification: str, critique: str
    ) -> Chat:
        return Chat((Message("user", f"merge {verification} and {critique}"),), "")


def judge(engine: ScriptedEngine, votes: int = 2, meta: bool = False, wrong: bool = False) -> Judge:
    asked = JudgeSettings(
        votes=votes,
        aggregator="meta_critique" if meta else "majority",
        paths="wrong" if wrong else "all",
        max_tokens=20,
    )
    made = Judge(kit_of(JUDGE, engine, without=(LABELS,), judge=asked, seed=3))
    made._panel = (Plain(),)  # type: ignore[assignment]
    return made


def repairer(engine: ScriptedEngine) -> Repairer:
    return Repairer(kit_of(REPAIR, engine, repair=RepairSettings(sees="none", max_tokens=5)))


ROWS = ShardRows({PROBLEMS: (PROBLEM,), PATHS: (path(2, True), path(2, False, index=1))})


async def test_every_verification_is_a_row_with_a_seed_of_its_own() -> None:
    engine = ScriptedEngine(lambda chat, seed: f"{seed} y")
    result = await judge(engine, votes=3).run(ROWS)
    assert [(row.path_id, row.number) for row in result.rows] == [
        (name, number) for name in ("p#0", "p#1") for number in range(3)
    ]
    assert len({row.seed for row in result.rows}) == 6
    assert [row.text for row in result.rows] == [f"{row.seed} y" for row in result.rows]
    again = await judge(ScriptedEngine(lambda chat, seed: f"{seed} y"), votes=3).run(ROWS)
    assert again == result


async def test_a_verification_that_more_votes_ask_for_again_is_the_same() -> None:
    engine = ScriptedEngine(lambda chat, seed: f"{seed} y")
    few, many = await judge(engine, votes=1).run(ROWS), await judge(engine, votes=2).run(ROWS)
    assert [row for row in many.rows if row.number == 0] == list(few.rows)


async def test_a_meta_critique_reads_its_verification_and_the_merge_reads_both() -> None:
    asked: list[str] = []

    def script(chat: Chat, seed: int) -> str:
        asked.append(chat.messages[0].content)
        return "C" if "criticise" in asked[-1] else "M y" if "merge" in asked[-1] else "V n"

    result = await judge(ScriptedEngine(script), votes=1, meta=True).run(
        ROWS.but({PATHS: ROWS[PATHS][:1]})
    )
    assert [(row.round, row.text) for row in result.rows] == [
        ("verify", "V n"), ("critique", "C"), ("merge", "M y"),
    ]  # fmt: skip
    assert asked[1:] == ["criticise V n", "merge V n and C"]
    assert result.rows[1].verdicts == []


async def test_right_answers_may_be_left_alone() -> None:
    result = await judge(ScriptedEngine(lambda chat, seed: "y"), wrong=True).run(ROWS)
    assert {row.path_id for row in result.rows} == {"p#1"}
    assert [(drop.item, drop.reason) for drop in result.drops] == [("p#0", "right_answer")]


def agreed(labels: list[bool], name: str = "p#0") -> Agreement:
    return Agreement(name, "p", True, None, None, None, "none", labels)


async def test_a_repair_is_asked_for_the_first_wrong_step_with_what_stands_before_it() -> None:
    asked: list[str] = []

    def script(chat: Chat, seed: int) -> str:
        asked.append(chat.messages[-1].content)
        return " better "

    rows = ShardRows(
        {PROBLEMS: (PROBLEM,), PATHS: (path(3, False),), AGREEMENTS: (agreed([True, False, True]),)}
    )
    (row,) = (await repairer(ScriptedEngine(script)).run(rows)).rows
    (prompt,) = asked
    assert [f"step {number}" in prompt for number in range(3)] == [True, True, False]
    assert (row.step, row.prefix, row.wrong, row.replacement) == (1, ["step 0"], "step 1", "better")


async def test_replacements_that_are_none_are_dropped_with_a_reason() -> None:
    replies = {
        "a b c d e f g": "truncated",
        " ": "empty_step",
        "one\n\ntwo": "not_one_step",
        "step 0": "same_step",
    }
    for reply, reason in replies.items():
        engine = ScriptedEngine(lambda chat, seed, reply=reply: reply)  # type: ignore[misc]
        rows = ShardRows(
            {PROBLEMS: (PROBLEM,), PATHS: (path(1, False),), AGREEMENTS: (agreed([False]),)}
        )
        assert [drop.reason for drop in (await repairer(engine).run(rows)).drops] == [reason]


async def test_a_replacement_is_kept_where_enough_continuations_succeed() -> None:
    def goes_on(chat: Chat, seed: int) -> str:
        """Right for two of 32 seeds in a row behind a good step."""
        return "so \\boxed{1}" if "good" in chat.prefill and not seed % 16 else "so \\boxed{2}"

    tried = []
    for reply in ("good", "bad"):
        engine = ScriptedEngine(lambda chat, seed, reply=reply: reply)  # type: ignore[misc]
        rows = ShardRows(
            {PROBLEMS: (PROBLEM,), PATHS: (path(1, False),), AGREEMENTS: (agreed([False]),)}
        )
        tried += (await repairer(engine).run(rows)).rows
    retrial = Retrial(kit_of(RETRY, ScriptedEngine(goes_on)))
    result = await retrial.run(ShardRows({PROBLEMS: (PROBLEM,), REPAIRED: tuple(tried)}))
    assert [(row.n, row.c, row.kept) for row in result.rows] == [(32, 2, True), (32, 0, False)]
    assert [drop.reason for drop in result.drops] == ["no_success"]
