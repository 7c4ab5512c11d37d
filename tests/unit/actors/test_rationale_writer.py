"""Stage `rationalize`: code rounds, budgets, sandbox trouble, votes, and what may not leak."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from actors.engines.contract import Chat, EngineSettings, Reply, Sampling
from actors.engines.scripted import ScriptedEngine
from actors.workers.contract import ShardResult
from storage.errors import SandboxUnavailable
from storage.rows.kinds import LABELS, PATHS, PROBLEMS, ShardRows
from storage.rows.records import Rationale, standing
from tests.support.fake_sandbox import STEPS, FakeSandbox, rows
from tests.support.kits import kit_of
from workflows.formats import prompts
from workflows.formats.paper_form import PaperForm
from workflows.settings import RationalizeSettings
from workflows.stages.rationalize import RATIONALIZE, RationaleWriter
from workflows.stages.writing.draft import solutions_of


class RecordingEngine(ScriptedEngine):
    asked: list[tuple[Chat, Sampling]]

    async def generate(self, chat: Chat, sampling: Sampling) -> Reply:
        self.asked.append((chat, sampling))
        return await super().generate(chat, sampling)


def code(body: str) -> str:
    return f"{prompts.CODE_OPEN}{body}{prompts.CODE_CLOSE}"


def paragraph(number: int, body: str) -> str:
    head = "" if number == 1 else f"### Paragraph {number}\n<analyze>\n"
    return f"{head}Fine {number}.\n</analyze>\n<verify>\n{code(body)}"


def after(number: int) -> str:
    return f"It holds ({number}).\n</verify>\n"


def writer_script(bodies: list[str], vote: str = "-1}") -> Callable[[Chat, int], str]:
    """A model that writes a paragraph per body, each after reading the last code output."""
    texts = [
        (after(number) if number else "") + paragraph(number + 1, body)
        for number, body in enumerate(bodies)
    ]
    ending = after(len(bodies)) + "</think>"

    def script(chat: Chat, seed: int) -> str:
        if chat.prefill.endswith(prompts.CONCLUSION):
            return vote
        done = sum(text in chat.prefill for text in texts)
        return (texts[done] if done < len(texts) else ending) + "never read"

    return script


def writer(
    script: Callable[[Chat, int], str],
    sandbox: FakeSandbox | None = None,
    max_tokens: int = 400,
    output_chars: int = 2000,
    **budget: Any,
) -> RationaleWriter:
    engine = RecordingEngine(script, EngineSettings(kind="scripted"))
    engine.asked = []
    asked = RationalizeSettings(max_tokens=max_tokens, output_chars=output_chars, **budget)
    kit = kit_of(RATIONALIZE, engine, sandbox or FakeSandbox(), rationalize=asked, seed=5)
    return RationaleWriter(kit)


async def write(stage: RationaleWriter, shard: ShardRows | None = None) -> ShardResult[Rationale]:
    return await stage.run(shard or rows())


def asked(stage: RationaleWriter) -> list[tuple[Chat, Sampling]]:
    engine = stage.kit.engine
    assert isinstance(engine, RecordingEngine)
    return engine.asked


async def test_code_is_run_in_one_interpreter_and_its_output_is_read_before_going_on() -> None:
    sandbox = FakeSandbox()
    stage = writer(writer_script(["x = 2 + 3\nprint(x)", "print(x == 5)"]), sandbox)
    (row,) = (await write(stage)).rows
    assert [(run.step, run.output, run.verdict) for run in row.executions] == [
        (0, "5", "ok"),
        (1, "True", "ok"),
    ]
    assert (row.executions[0].wall_s, row.executions[0].queued_s) == (0.5, 0.25)
    assert row.analyses == ["Fine 1.", "Fine 2."]
    assert row.verifications[1].startswith("```python\nprint(x == 5)\n```\n[Code Output]")
    assert row.verifications[1].endswith("It holds (2).")
    assert row.text.startswith(prompts.THINK_OPEN + "### Paragraph 1")
    assert "never read" not in row.text
    assert row.votes == [-1] * 4
    assert sandbox.opened == sandbox.closed == ["p#0/0"]


async def test_neither_answer_nor_labels_reach_the_engine() -> None:
    stage = writer(writer_script(["print(1)", "print(2)"]))
    await write(stage)
    seen = repr(asked(stage))
    assert "What is 2 + 3?" in seen
    for secret in ("ANSWER-LEAK", "REFERENCE-LEAK", "0.123456", "8.1"):
        assert secret not in seen


def test_paths_without_labels_are_not_rationalized() -> None:
    shard = rows()
    assert [solution.path_id for solution in solutions_of(shard, True)] == ["p#0"]
    unlabelled = ShardRows({PROBLEMS: shard[PROBLEMS], PATHS: shard[PATHS]})
    assert solutions_of(unlabelled, True) == []


@pytest.mark.parametrize(
    ("body", "output"),
    [
        pytest.param("print('a')\n1 / 0", "a\nZeroDivisionError: division by zero", id="error"),
        pytest.param(
            "die = 1", "before\nThe code was stopped: it ran longer than 5 seconds.", id="timeout"
        ),
        pytest.param("print('```')", "'''", id="a_fence_in_the_output"),
        pytest.param("pass", "", id="silence"),
        pytest.param("print('y' * 3000)", "y" * 2000 + "\n[output cut: 1000 more characters]",
                     id="too_long"),
    ],
)  # fmt: skip
async def test_what_became_of_the_code_is_said_in_plain_words(body: str, output: str) -> None:
    (row,) = (await write(writer(writer_script([body, "print(2)"])))).rows
    assert row.executions[0].output == output
    assert prompts.code_output(output) in row.text


async def test_code_that_killed_its_interpreter_gets_a_fresh_one_for_the_next_block() -> None:
    sandbox = FakeSandbox()
    stage = writer(writer_script(["x = 1; die = 1", "print('x' in globals())"]), sandbox)
    (row,) = (await write(stage)).rows
    assert [run.verdict for run in row.executions] == ["timeout", "ok"]
    assert row.executions[1].output == "False"
    assert sandbox.opened == sandbox.closed == ["p#0/0", "p#0/0/1"]


async def test_without_execution_code_is_written_and_no_sandbox_is_opened() -> None:
    sandbox = FakeSandbox()
    stage = writer(writer_script(["print(1)", "print(2)"]), sandbox, execute=False)
    (row,) = (await write(stage)).rows
    assert (row.executions, row.code_rounds, sandbox.opened) == ([], 0, [])
    assert "print(1)" in row.verifications[0]
    assert "[Code Output]" not in row.text


async def test_without_execution_a_text_goes_on_behind_its_last_good_paragraph_too() -> None:
    first, better = paragraph(1, "print(1)"), f"Better.\n</analyze>\n<verify>\n{code('print(2)')}"
    opened = "### Paragraph 2\n<analyze>\n"

    def script(chat: Chat, seed: int) -> str:
        if chat.prefill.endswith(prompts.CONCLUSION):
            return "-1}"
        if better in chat.prefill:
            return after(2) + "</think>"
        if chat.prefill.endswith(opened):
            return better
        bad = f"{after(1)}\n{opened}Sure.\n</analyze>\n<verify>\nSure.\n</verify>\n</think>"
        return bad if first in chat.prefill else first

    result = await write(writer(script, execute=False))
    assert not result.drops
    (row,) = result.rows
    assert (row.analyses, row.executions) == (["Fine 1.", "Better."], [])
    assert "Sure." not in row.text


async def test_a_lost_sandbox_repeats_the_whole_solution_with_the_same_seeds() -> None:
    sandbox = FakeSandbox(losses=2)
    stage = writer(writer_script(["print(1)", "lost = 1; print(lost)"]), sandbox)
    (row,) = (await write(stage)).rows
    assert [run.output for run in row.executions] == ["1", "1"]
    assert sandbox.ran == ["print(1)", "lost = 1; print(lost)"] * 3
    seeds = [sampling.seed for _, sampling in asked(stage)]
    assert seeds[0:2] == seeds[2:4] == seeds[4:6]
    assert sandbox.opened == sandbox.closed


async def test_a_sandbox_lost_too_often_is_a_drop_that_names_the_infrastructure() -> None:
    sandbox = FakeSandbox(losses=99)
    result = await write(writer(writer_script(["lost = 1", "print(2)"]), sandbox))
    assert [drop.reason for drop in result.drops] == ["sandbox_lost"]
    assert not result.rows
    assert result.counts["tokens"] > 0, "what was spent in vain is counted"


async def test_no_sandbox_at_all_fails_the_shard() -> None:
    stage = writer(writer_script(["print(1)", "print(2)"]), FakeSandbox(unavailable=True))
    with pytest.raises(SandboxUnavailable):
        await write(stage)


@pytest.mark.parametrize(
    ("budget", "reason"),
    [
        pytest.param({"code_rounds": 1}, "too_many_code_rounds", id="code_rounds"),
        pytest.param({"total_tokens": 20}, "truncated", id="total_tokens"),
    ],
)
async def test_a_rationale_that_outgrows_its_budget_is_a_drop(
    budget: dict[str, int], reason: str
) -> None:
    stage = writer(writer_script(["print(1)", "print(2)"]), **budget)
    result = await write(stage)
    assert [drop.reason for drop in result.drops] == [reason]


async def test_code_outputs_count_towards_the_total() -> None:
    script = writer_script(["print('w ' * 100)", "print(2)"])
    assert (await write(writer(script, total_tokens=300))).rows
    result = await write(writer(script, total_tokens=100))
    assert [drop.reason for drop in result.drops] == ["truncated"]


async def test_another_fence_is_not_executed_and_writing_goes_on() -> None:
    script = writer_script(["print(1)", "print(2)"])

    def with_shell(chat: Chat, seed: int) -> str:
        if "pip install" in chat.prefill:
            return script(chat, seed)
        return "First:\n```bash\npip install x\n```\n" + script(chat, seed)

    sandbox = FakeSandbox()
    (row,) = (await write(writer(with_shell, sandbox))).rows
    assert sandbox.ran == ["print(1)", "print(2)"]
    assert "pip install" in row.analyses[0]


async def test_an_unreadable_rationale_is_tried_again_with_other_seeds() -> None:
    good = writer_script(["print(1)", "print(2)"])
    firsts: list[int] = []

    def script(chat: Chat, seed: int) -> str:
        if chat.prefill == PaperForm(1).chat("", STEPS).prefill:
            firsts.append(seed)
        return good(chat, seed) if len(set(firsts)) > 1 else "nonsense </think>"

    result = await write(writer(script, attempts=1))
    assert [drop.reason for drop in result.drops] == ["paragraph_missing"]
    firsts.clear()
    result = await write(writer(script, attempts=2))
    assert not result.drops
    assert firsts[0] != firsts[1]
    lost, kept = result.rows
    assert (lost.attempt, kept.attempt) == (0, 1)
    assert lost.dropped is not None and lost.dropped.startswith("paragraph_missing: ")
    assert lost.text.endswith("nonsense </think>")
    assert standing(result.rows) == (kept,)
    assert result.counts["dropped_texts"] == 1


@pytest.mark.parametrize(
    ("vote", "index"),
    [("-1}", -1), ("1}", 0), (" 2 }", 1), ("3}", None), ("0}", None), ("?", None)],
)
async def test_votes_are_zero_based_or_none_where_unreadable(vote: str, index: int | None) -> None:
    stage = writer(writer_script(["print(1)", "print(2)"], vote), votes=3)
    (row,) = (await write(stage)).rows
    assert row.votes == [index] * 3
    chat, sampling = asked(stage)[-1]
    assert chat.prefill.endswith("</verify>" + prompts.CONCLUSION)
    assert (sampling.n, sampling.stop) == (3, ("}",))


@pytest.mark.parametrize("sessions", [1, 3])
async def test_more_solutions_than_the_sandbox_has_sessions_take_turns(sessions: int) -> None:
    sandbox = FakeSandbox(room=asyncio.Semaphore(sessions))
    one = rows()
    shard = ShardRows(
        {
            PROBLEMS: one[PROBLEMS],
            PATHS: tuple(replace(one[PATHS][0], path_id=f"p#{i}") for i in range(9)),
            LABELS: tuple(replace(one[LABELS][0], path_id=f"p#{i}") for i in range(9)),
        }
    )
    # The second block kills its interpreter: the fresh one must not wait for its own turn.
    bodies = ["print(1)", "die = 1", "print(3)"]
    shard = shard.but({PATHS: [replace(p, steps=[*STEPS, "third"]) for p in shard[PATHS]]})
    result = await asyncio.wait_for(write(writer(writer_script(bodies), sandbox), shard), 60)
    assert len(result.rows) == 9
    assert sorted(sandbox.opened) == sorted(sandbox.closed)


async def test_close_ends_engine_and_sandbox() -> None:
    sandbox = FakeSandbox()
    await writer(writer_script([]), sandbox).close()
    assert sandbox.closed == ["sandbox"]
