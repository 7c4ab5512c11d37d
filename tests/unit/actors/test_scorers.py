"""A solution that is judged while it grows: the same rewards, forks, and code that is run again."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager

from actors.engines.contract import Chat, EngineSettings
from actors.engines.scripted import ScriptedEngine
from actors.sandbox.contract import Execution, Limits, Request
from storage.rows.records import Verification
from tests.support.kits import kit_of
from tests.support.scripted_world import InProcessSession
from workflows.formats import prompts
from workflows.formats.verification import VERDICT_OPENING, Mode, VerifySettings
from workflows.scoring.scorer import open_scorer
from workflows.scoring.settings import ScoreConfig, ScoreModels
from workflows.stages.score import SCORE
from workflows.stages.scorers.contract import Scorer, score
from workflows.stages.scorers.opening import scorer_of

PROBLEM, STEPS = "What is 1 + 1 + 1?", ("1 + 1 = 2", "2 + 1 = 3", "so \\boxed{3}")


class Sessions:
    """A sandbox whose sessions are namespaces of this process."""

    def __init__(self) -> None:
        self.opened: list[str] = []
        self.blocks: list[str] = []
        self.open = 0

    async def run(self, request: Request, limits: Limits | None = None) -> Execution:
        raise AssertionError("a verifier runs its code in a session")

    def session(self, key: str) -> AbstractAsyncContextManager[Session]:
        return self._session(key)

    @asynccontextmanager
    async def _session(self, key: str) -> AsyncIterator[Session]:
        self.opened.append(key)
        self.open += 1
        try:
            yield Session(self)
        finally:
            self.open -= 1

    async def close(self) -> None:
        pass


class Session(InProcessSession):
    def __init__(self, owner: Sessions) -> None:
        super().__init__()
        self._owner = owner

    async def run(self, code: str, limits: Limits | None = None) -> Execution:
        self._owner.blocks.append(code)
        return await super().run(code, limits)


def counting(chat: Chat, seed: int) -> str:
    """Counts its turns in a variable of the interpreter, and calls the third step wrong."""
    turn = sum(message.role == "user" for message in chat.messages)
    if chat.prefill.endswith(VERDICT_OPENING):
        return "No" if turn == 3 else "Yes"
    if prompts.VERIFY_OPEN not in chat.prefill:
        return f"Seed {seed}.\n{prompts.ANALYZE_CLOSE}\n"
    if "[Code Output]" in chat.prefill:
        return f"It agrees.\n{prompts.VERIFY_CLOSE}\n"
    code = "n = 1" if turn == 1 else "n = n + 1"
    return f"{prompts.CODE_OPEN}{code}\nprint(n){prompts.CODE_CLOSE}"


def scorer(sandbox: Sessions, mode: Mode = "full") -> Scorer:
    engine = ScriptedEngine(counting, EngineSettings(kind="scripted"))
    return scorer_of(kit_of(SCORE, engine, sandbox, settings=VerifySettings(mode=mode)))


async def whole(sandbox: Sessions) -> Verification:
    (row,) = (await score(scorer(sandbox), PROBLEM, STEPS, "r")).histories
    return row


async def test_steps_that_are_judged_one_by_one_get_the_rewards_that_they_get_together() -> None:
    sandbox = Sessions()
    judging = scorer(sandbox).begin(PROBLEM, "r")
    rewards = [reward for step in STEPS for reward in await judging.judge(step)]
    await judging.close()
    assert rewards == [1.0, 1.0, 0.0]
    assert judging.row() == await whole(Sessions())
    assert sandbox.open == 0


async def test_a_fork_goes_on_with_the_interpreter_as_it_was_and_leaves_the_other_alone() -> None:
    sandbox = Sessions()
    judging = scorer(sandbox).begin(PROBLEM, "r")
    await judging.judge(*STEPS[:2])
    forks = [judging.fork(), judging.fork()]
    assert len(sandbox.blocks) == 2, "nothing is run again before a fork writes code"
    for fork in forks:
        await fork.judge(STEPS[2])
    assert judging.rewards == [1.0, 1.0], "a fork's rewards are its own"
    await judging.judge(STEPS[2])
    expected = await whole(Sessions())
    for one in (judging, *forks):
        assert one.row() == expected
        await one.close()
    assert len(set(sandbox.opened)) == 3
    assert sandbox.open == 0


async def test_histories_without_rewards_are_told_apart_from_the_others() -> None:
    def silent(chat: Chat, seed: int) -> str:
        return "Yes" if seed % 2 else "Perhaps"

    engine = ScriptedEngine(silent, EngineSettings(kind="scripted"))
    kit = kit_of(SCORE, engine, settings=VerifySettings(mode="direct", seed=3))
    made = await score(scorer_of(kit), PROBLEM, STEPS[:1], "r", 8)
    assert len(made.histories) + len(made.lost) == 8
    assert 0 < len(made.lost) < 8
    assert {error.reason for error in made.lost} == {"no_verdict"}
    assert made.rewards == [1.0]


async def test_a_scorer_without_a_run_gives_a_runs_rewards() -> None:
    engine = EngineSettings(kind="scripted", model="tests.unit.actors.test_scorers:counting")
    config = ScoreConfig(run="any", responses="", models=ScoreModels(verifier=engine))
    sandbox = Sessions()
    async with open_scorer(config, sandbox) as opened:
        made = await score(opened, PROBLEM, STEPS, "r")
    row, expected = made.histories[0], await whole(Sessions())
    assert (row.rewards, row.analyses) == (expected.rewards, expected.analyses)
    assert sandbox.open == 0
