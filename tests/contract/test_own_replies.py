"""Replies in the manner of QwQ and of R1, and what a careful reader makes of each of them.

Three problems of four to eight steps, told in both manners; each reply has a twist of its own (its
`note`). Rationales go through the writer, their code through a real sandbox where there is one;
judges' replies go through the judge. What is expected was settled reply by reply: kept; continued
behind its last good paragraph; kept at the second attempt; or dropped, with the reason. At the end
a table says how many became what.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pytest

from actors.engines.scripted import ScriptedEngine
from actors.sandbox.contract import Limits, Sandbox, SandboxSettings
from actors.sandbox.opening import open_sandbox
from actors.workers.contract import ShardResult
from storage.errors import ItemError, SandboxUnavailable
from storage.rows.kinds import PATHS, PROBLEMS, ShardRows
from storage.rows.records import Example, Judgement, Problem, Rationale, standing
from tests.contract.own_replies import TALLY, replies
from tests.support.fake_sandbox import FakeSandbox, rows
from tests.support.kits import kit_of
from tests.support.one_text import OneText
from tests.support.shown_outputs import shown_invented, unlike_what_runs
from workflows.formats.conversation import example_of
from workflows.formats.executed import shown_unrun
from workflows.settings import JudgeSettings, RationalizeSettings
from workflows.stages.judge import JUDGE, Judge
from workflows.stages.rationalize import RATIONALIZE, RationaleWriter

RATIONALES, JUDGES = replies("rationale"), replies("judge")
LIMITS = Limits(wall_s=20.0, cpu_s=20.0, memory_mb=256)


def shard_of(given: Mapping[str, Any]) -> ShardRows:
    """The solution that a reply is about."""
    one = rows(*given["steps"])
    problem = Problem("p", given["problem"], "1", reference_solution="As above.")
    return one.but({PROBLEMS: (problem,)})


@dataclass(frozen=True)
class Made:
    """What the writer made of a reply."""

    result: ShardResult[Rationale]
    taken_up: int
    """How often the text was cut back and gone on with."""

    @property
    def became(self) -> str:
        """`kept`, `continued`, `second attempt`, or the reason of the drop."""
        for row in standing(self.result.rows):
            return "second attempt" if row.attempt else "continued" if self.taken_up else "kept"
        return self.result.drops[0].reason


async def written(given: Mapping[str, Any], sandbox: Sandbox, reads: bool = True) -> Made:
    """What the writer makes of a reply."""
    engine = OneText(given["reply"], given["vote"], reads, given.get("second"))
    asked = RationalizeSettings(max_tokens=4000, require_code=given.get("require_code", True))
    kit = kit_of(RATIONALIZE, engine, sandbox, rationalize=asked, limits=LIMITS)
    return Made(await RationaleWriter(kit).run(shard_of(given)), engine.taken_up)


@pytest.fixture(scope="module")
def made() -> dict[str, Made]:
    """Note -> what became of the reply; in this process where no sandbox can be had."""

    async def all_of_them() -> dict[str, Made]:
        pool = open_sandbox(SandboxSettings(slots=2, limits=LIMITS))
        sandbox: Sandbox = pool
        try:
            await pool.start()
        except SandboxUnavailable:
            sandbox = FakeSandbox()
        try:
            return {line["note"]: await written(line["input"], sandbox) for line in RATIONALES}
        finally:
            await pool.close()

    return asyncio.run(all_of_them())


@pytest.mark.parametrize("line", RATIONALES, ids=lambda line: line["note"])
def test_a_rationale_becomes_what_a_careful_reader_makes_of_it(
    line: dict[str, Any], made: dict[str, Made]
) -> None:
    of, expected = made[line["note"]], line["expected"]
    result = of.result
    TALLY[f"{'dropped: ' if result.drops else ''}{of.became}"] += 1
    assert of.became == (expected.get("reason") or expected["outcome"]), result.drops
    kept = standing(result.rows)
    if expected["outcome"] == "dropped":
        assert not kept
        assert [row.dropped for row in result.rows][-1] == (
            f"{result.drops[0].reason}: {result.drops[0].detail}"
        ), "its text can be read back with its reason"
        return
    (row,) = kept
    assert len(row.executions) == expected["executions"]
    assert row.reading == expected["reading"]
    assert row.votes == [expected["index"]] * 4


def exported(given: Mapping[str, Any], row: Rationale) -> Example:
    """The conversation that is made of a rationale, were all its steps right."""
    shard = shard_of(given)
    right = [True] * len(row.analyses)
    return example_of(shard[PROBLEMS][0], shard[PATHS][0], right, [], row, {}, "run")


@pytest.mark.parametrize("line", RATIONALES, ids=lambda line: line["note"])
def test_nothing_invented_or_given_up_is_kept(line: dict[str, Any], made: dict[str, Made]) -> None:
    for row in standing(made[line["note"]].result.rows):
        shown = "\n".join([*row.analyses, *row.verifications])
        assert not [text for text in line["expected"].get("gone", []) if text in shown]
        assert unlike_what_runs(row) == []
        if reason := line["expected"].get("export"):
            with pytest.raises(ItemError, match=reason):
                exported(line["input"], row)
        else:
            assert shown_unrun(exported(line["input"], row)) is None


@pytest.mark.parametrize("line", RATIONALES, ids=lambda line: line["note"])
async def test_no_invented_output_survives_a_model_that_says_it_again(line: dict[str, Any]) -> None:
    made = await written(line["input"], FakeSandbox(), reads=False)
    for row in standing(made.result.rows):
        assert shown_invented(row) == []
        assert unlike_what_runs(row) == []


@pytest.mark.parametrize("line", JUDGES, ids=lambda line: line["note"])
async def test_a_judges_reply_is_read_as_a_careful_reader_reads_it(line: dict[str, Any]) -> None:
    given, expected = line["input"], line["expected"]
    sees: Any = "reference_solution" if given["form"] == "align" else "none"
    asked = JudgeSettings(prompts=(given["form"],), sees=(sees,), votes=1, max_tokens=4000)
    engine = ScriptedEngine(lambda chat, seed: given["reply"])
    judge = Judge(kit_of(JUDGE, engine, judge=asked))
    (row,) = (await judge.run(shard_of(given))).rows
    assert isinstance(row, Judgement)
    assert (row.verdicts, row.index) == (expected["verdicts"], expected["index"])
    TALLY["judge: some step unread" if None in row.verdicts else "judge: read"] += 1


def test_there_are_enough_of_each_kind() -> None:
    assert len(RATIONALES) >= 40
    lines = [*RATIONALES, *JUDGES]
    assert {line["manner"] for line in lines} == {"QwQ", "R1"}
    assert {len(line["input"]["steps"]) for line in lines} == {4, 6, 8}
    assert len({line["note"] for line in lines}) == len(lines)
