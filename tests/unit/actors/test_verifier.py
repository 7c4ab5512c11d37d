"""Stage `score`: what is asked, in which modes, where a verdict is read, and what bounds a step."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field, replace

import pytest

from actors.engines.contract import Chat, EngineSettings, Reply, Sampling
from actors.engines.scripted import Faults, ScriptedEngine
from actors.sandbox.contract import Execution, Limits, Request
from actors.workers.contract import ShardResult
from storage.errors import EngineFailed, SandboxLost
from storage.rows.kinds import RESPONSES, ShardRows
from storage.rows.records import Example, Message, Response, Verification
from tests.support.kits import kit_of
from tests.support.scripted_world import InProcessSession
from workflows.formats import prompts
from workflows.formats.conversation import check_example
from workflows.formats.verification import (
    EXECUTING,
    VERDICT_OPENING,
    Mode,
    VerifySettings,
)
from workflows.stages.score import SCORE, Verifier

RESPONSE = Response("r", "p", "What is 2 + 3?", ["2 + 3 = 5", "so \\boxed{5}"], "")
Script = Callable[[Chat, int], str]


@dataclass
class FakeSandbox:
    """One namespace per session; the first `losses` blocks lose theirs."""

    losses: int = 0
    opened: list[str] = field(default_factory=list)
    closed: int = 0

    async def run(self, request: Request, limits: Limits | None = None) -> Execution:
        raise AssertionError("a verifier runs its code in a session")

    def session(self, key: str) -> AbstractAsyncContextManager[FakeSession]:
        return self._session(key)

    @asynccontextmanager
    async def _session(self, key: str) -> AsyncIterator[FakeSession]:
        self.opened.append(key)
        try:
            yield FakeSession(self)
        finally:
            self.closed += 1

    async def close(self) -> None:
        pass


class FakeSession(InProcessSession):
    def __init__(self, owner: FakeSandbox) -> None:
        super().__init__()
        self._owner = owner

    async def run(self, code: str, limits: Limits | None = None) -> Execution:
        if self._owner.losses:
            self._owner.losses -= 1
            raise SandboxLost("the container vanished")
        return await super().run(code, limits)


class RecordingEngine(ScriptedEngine):
    asked: list[tuple[Chat, Sampling]]

    async def generate(self, chat: Chat, sampling: Sampling) -> Reply:
        self.asked.append((chat, sampling))
        return await super().generate(chat, sampling)


def block(body: str) -> str:
    return f"{prompts.CODE_OPEN}{body}{prompts.CODE_CLOSE}"


def model(
    analysis: str = "It should be five.",
    code: str = "x = 2 + 3\nprint(x)",
    verdicts: tuple[str, ...] = ("Yes", "No"),
) -> Script:
    """A model that analyzes, runs one block, comments on it, and judges by the step's number."""

    def script(chat: Chat, seed: int) -> str:
        text = chat.prefill
        if text.endswith(VERDICT_OPENING):
            return verdicts[sum(turn.role == "user" for turn in chat.messages) - 1]
        if prompts.VERIFY_OPEN not in text:
            return f"{analysis}\n{prompts.ANALYZE_CLOSE}\n"
        if "[Code Output]" not in text:
            return f"{block(code)}The code agrees.\n{prompts.VERIFY_CLOSE}\n"
        return f"The code agrees.\n{prompts.VERIFY_CLOSE}\n"

    return script


@dataclass
class Bench:
    """A verifier around a script, and what it was asked."""

    script: Script
    mode: Mode = "full"
    effort: VerifySettings = field(default_factory=VerifySettings)
    sandbox: FakeSandbox = field(default_factory=FakeSandbox)
    context: int | None = None
    faults: Faults | None = None
    engine: RecordingEngine = field(init=False)

    def __post_init__(self) -> None:
        settings = EngineSettings(kind="scripted", max_model_len=self.context)
        self.engine = RecordingEngine(self.script, settings, faults=self.faults)
        self.engine.asked = []

    async def run(self, *responses: Response) -> ShardResult[Verification]:
        asked = replace(self.effort, mode=self.mode, seed=5)
        sandbox = self.sandbox if self.mode in EXECUTING else None
        stage = Verifier(kit_of(SCORE, self.engine, sandbox, settings=asked))
        return await stage.run(ShardRows({RESPONSES: responses or (RESPONSE,)}))

    async def one(self) -> Verification:
        (row,) = (await self.run()).rows
        return row

    @property
    def conversation(self) -> list[Message]:
        """The last history as it stood when it ended."""
        chat, _ = self.engine.asked[-1]
        return [*chat.messages, Message("assistant", chat.prefill)]


async def test_a_full_conversation_is_the_training_format_to_the_letter() -> None:
    bench = Bench(model())
    row = await bench.one()
    turns = bench.conversation
    turns[-1] = Message("assistant", turns[-1].content + "No}$\n</output>\n")
    example = Example(turns, "p", "p#0", [True, False], 1, [1.0, 1.0, 0.0], [], "", "", "", "")
    check_example(example)
    assert turns[1].content == "Question: What is 2 + 3?\n\n2 + 3 = 5"
    assert turns[3].content == "so \\boxed{5}"
    assert row.rewards == [1.0, 0.0]
    assert row.verdicts == [True, False]
    assert row.analyses == ["It should be five."] * 2
    assert [(run.step, run.output) for run in row.executions] == [(0, "5"), (1, "5")]
    assert all("[Code Output]" in text for text in row.verifications)


@pytest.mark.parametrize(
    ("mode", "parts", "calls", "runs"),
    [
        ("full", ["analyze", "verify", "output"], 4, 2),
        ("cot", ["analyze", "output"], 2, 0),
        ("code", ["verify", "output"], 3, 2),
        ("code_not_run", ["analyze", "verify", "output"], 3, 0),
        ("direct", ["output"], 1, 0),
    ],
)
async def test_a_mode_is_the_parts_of_a_turn(
    mode: Mode, parts: list[str], calls: int, runs: int
) -> None:
    bench = Bench(model(), mode)
    row = await bench.one()
    turn = bench.conversation[2].content
    assert [name for name in ("analyze", "verify", "output") if f"<{name}>" in turn] == parts
    assert len(bench.engine.asked) == 2 * calls
    assert len(row.executions) == runs
    assert ("[Code Output]" in turn) == bool(runs)
    system = prompts.DIRECT_SYSTEM if mode == "direct" else prompts.CRITIC_SYSTEM
    assert bench.conversation[0] == Message("system", system)
    assert row.rewards == [1.0, 0.0]
    assert row.mode == mode


@pytest.mark.parametrize("quoted", ["**Judgement**: $\\boxed{No}$", "<output>\\boxed{No}</output>"])
async def test_a_verdict_quoted_before_the_verdict_does_not_change_the_reward(quoted: str) -> None:
    plain = await Bench(model(verdicts=("Yes", "Yes"))).one()
    in_analysis = await Bench(model(f"They'd say {quoted}.", verdicts=("Yes", "Yes"))).one()
    in_code = await Bench(model(code=f"print({quoted!r})", verdicts=("Yes", "Yes"))).one()
    assert plain.rewards == in_analysis.rewards == in_code.rewards == [1.0, 1.0]
    assert quoted in in_analysis.analyses[0]


async def test_only_the_verdict_is_asked_for_with_log_probabilities_and_as_one_token() -> None:
    bench = Bench(model())
    await bench.run()
    asked = [(chat.prefill.endswith(VERDICT_OPENING), s.logprobs) for chat, s in bench.engine.asked]
    assert asked == [(False, 0), (False, 0), (False, 0), (True, 20)] * 2
    assert all(s.max_tokens == 1 for chat, s in bench.engine.asked if s.logprobs)


MADE_UP = "[Code Output]\n\n```\n90210\n```\n"


@pytest.mark.parametrize(
    "spelt",
    ["```python\nprint(5)\n``` \n", "```py\nprint(5)\n```\n", "~~~python\nprint(5)\n~~~\n",
     "  ```python\n  print(5)\n  ```\n", "```python\nprint(5)\n```\n"],
)  # fmt: skip
async def test_a_block_is_run_however_it_is_spelt_and_an_output_of_its_own_is_cut_off(
    spelt: str,
) -> None:
    def script(chat: Chat, seed: int) -> str:
        text = chat.prefill
        if text.endswith(VERDICT_OPENING):
            return "Yes"
        if prompts.VERIFY_OPEN not in text:
            return f"Five.\n{prompts.ANALYZE_CLOSE}\n"
        again = MADE_UP if "[Code Output]" not in text else ""
        code = spelt if again else ""
        return f"{code}{again}It agrees.\n{prompts.VERIFY_CLOSE}\n"

    bench = Bench(script)
    row = await bench.one()
    assert [run.output for run in row.executions] == ["5", "5"]
    assert row.degraded == [False, False]
    shown = prompts.code_block("print(5)") + prompts.code_output("5")
    for text in (bench.conversation[2].content, *row.verifications):
        assert shown.strip() in text
        assert "90210" not in text


async def test_a_model_that_makes_outputs_up_again_and_again_is_judged_from_its_analysis() -> None:
    def script(chat: Chat, seed: int) -> str:
        if chat.prefill.endswith(VERDICT_OPENING):
            return "Yes"
        if prompts.VERIFY_OPEN not in chat.prefill:
            return f"Five.\n{block('print(4)')}{MADE_UP}So.\n{prompts.ANALYZE_CLOSE}\n"
        return f"\n{MADE_UP}It agrees.\n{prompts.VERIFY_CLOSE}\n"

    bench = Bench(script)
    row = await bench.one()
    assert (row.degraded, row.executions) == ([True, True], [])
    turn = bench.conversation[2].content
    assert "90210" not in turn and "print(4)" not in turn, "an analysis has no code"
    assert turn.startswith("<analyze>") and "<verify>" not in turn


async def test_a_step_that_never_stops_writing_code_is_judged_from_its_analysis() -> None:
    def endless(chat: Chat, seed: int) -> str:
        if chat.prefill.endswith(VERDICT_OPENING) or prompts.VERIFY_OPEN not in chat.prefill:
            return model()(chat, seed)
        return block(f"print({len(chat.prefill)})")

    bench = Bench(endless)
    row = await bench.one()
    assert row.degraded == [True, True]
    assert len(bench.engine.asked) == 2 * (1 + 3 + 1), "an analysis, three rounds, a verdict"
    assert len(row.executions) == 2 * 2, "the last round's code would be read by nobody"
    assert prompts.VERIFY_OPEN not in bench.conversation[2].content
    assert "It should be five." in bench.conversation[2].content
    assert row.rewards == [1.0, 0.0]
    assert "print(" in row.verifications[0], "what was written is kept in the row"


@pytest.mark.parametrize("mode", ["full", "code"])
async def test_a_verification_that_outgrows_its_tokens_is_left_out(mode: Mode) -> None:
    def talker(chat: Chat, seed: int) -> str:
        if chat.prefill.endswith(VERDICT_OPENING) or prompts.VERIFY_OPEN not in chat.prefill:
            return model()(chat, seed)
        return "and " * 500

    bench = Bench(talker, mode, VerifySettings(max_tokens=100))
    row = await bench.one()
    assert row.degraded == [True, True]
    assert row.tokens < 2 * 110
    assert "and and" not in bench.conversation[2].content


async def test_an_analysis_that_outgrows_its_tokens_is_closed_where_it_stands() -> None:
    bench = Bench(model("so " * 500), effort=VerifySettings(max_tokens=50))
    row = await bench.one()
    assert row.degraded == [True, True]
    assert row.analyses[0].count("so") == 50
    assert f"so so\n{prompts.ANALYZE_CLOSE}\n{VERDICT_OPENING}Yes" in bench.conversation[2].content


async def test_code_that_outgrows_the_context_costs_the_verification_only() -> None:
    def wordy(chat: Chat, seed: int) -> str:
        return model(code="print('word ' * 390)", verdicts=("Yes",) * 2)(chat, seed)

    row = await Bench(wordy, context=300).one()
    assert row.degraded == [True, True]
    assert row.rewards == [1.0, 1.0]


async def test_a_conversation_that_fills_the_context_is_a_counted_drop() -> None:
    result = await Bench(model(), context=90).run()
    assert result.rows == ()
    assert [(drop.item, drop.reason) for drop in result.drops] == [("r", "too_long")]


async def test_a_verdict_that_is_neither_word_is_a_counted_drop() -> None:
    result = await Bench(model(verdicts=("Yes", "Perhaps"))).run()
    assert [drop.reason for drop in result.drops] == ["no_verdict"]


async def test_histories_have_their_own_seeds_sessions_and_turns() -> None:
    def by_seed(chat: Chat, seed: int) -> str:
        return model(analysis=f"Thought {seed}.", verdicts=("Yes",) * 2)(chat, seed)

    bench = Bench(by_seed, effort=VerifySettings(histories=4))
    result = await bench.run()
    assert [row.history for row in result.rows] == [0, 1, 2, 3]
    assert sorted(bench.sandbox.opened) == [f"r/{n}" for n in range(4)]
    assert bench.sandbox.closed == 4
    seeds = [sampling.seed for _, sampling in bench.engine.asked]
    assert len(set(seeds)) == len(seeds)
    for row in result.rows:
        own, others = (
            set(row.analyses),
            {text for other in result.rows if other is not row for text in other.analyses},
        )
        assert not own & others
    for chat, _ in bench.engine.asked:
        written = "".join(turn.content for turn in chat.messages)
        assert sum(row.analyses[0] in written for row in result.rows) <= 1


async def test_more_histories_leave_the_first_as_it_was() -> None:
    def by_seed(chat: Chat, seed: int) -> str:
        return model(verdicts=("Yes" if seed % 2 else "No",) * 2)(chat, seed)

    (alone,) = (await Bench(by_seed).run()).rows
    assert (await Bench(by_seed, effort=VerifySettings(histories=3)).run()).rows[0] == alone


async def test_a_lost_history_leaves_the_others() -> None:
    spoiled: set[int] = set()

    def once(chat: Chat, seed: int) -> str:
        if chat.prefill.endswith(VERDICT_OPENING) and not spoiled:
            spoiled.add(seed)
            return "Perhaps"
        return model()(chat, seed)

    result = await Bench(once, effort=VerifySettings(histories=3)).run()
    assert len(result.rows) == 2
    assert result.drops == ()
    assert result.counts["lost_histories"] == 1


@pytest.mark.parametrize(("losses", "reasons"), [(2, []), (3, ["sandbox_lost"])])
async def test_a_lost_sandbox_repeats_the_history_with_its_seeds(
    losses: int, reasons: list[str]
) -> None:
    quiet = (await Bench(model()).run()).rows
    bench = Bench(model(), sandbox=FakeSandbox(losses))
    result = await bench.run()
    assert [drop.reason for drop in result.drops] == reasons
    assert result.rows == (quiet if not reasons else ())
    assert bench.sandbox.closed == len(bench.sandbox.opened)


async def test_an_engine_that_dies_fails_the_shard_and_blames_no_response() -> None:
    bench = Bench(model(), faults=Faults(crash_at=3))
    with pytest.raises(EngineFailed):
        await bench.run(RESPONSE, Response("s", "p", "What?", ["one"], ""))
    assert bench.sandbox.closed == len(bench.sandbox.opened)


async def test_a_step_said_to_have_nothing_to_compute_is_judged_with_its_verification() -> None:
    def script(chat: Chat, seed: int) -> str:
        if chat.prefill.endswith(VERDICT_OPENING):
            return "Yes"
        if prompts.VERIFY_OPEN not in chat.prefill:
            return f"It restates the question.\n{prompts.ANALYZE_CLOSE}\n"
        return f"Nothing to compute.\n{prompts.VERIFY_CLOSE}\n"

    row = await Bench(script).one()
    assert row.verifications == ["Nothing to compute."] * 2
    assert (row.degraded, row.executions) == ([False, False], [])
