"""The demo world with scripted models and an interpreter in process: a whole build in seconds.

For tests of the road itself. What the scripts write is a pure function of the chat and the seed,
so that two builds of the same configuration must agree byte for byte.
"""

from __future__ import annotations

import contextlib
import io
import random
import re
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from actors.engines.contract import Chat, EngineSettings
from actors.engines.scripted import ScriptedEngine
from actors.sandbox.contract import Execution, Limits, Request, Verdict
from demo import check, judgements, rationales, solutions, world
from demo.problem import Problem
from demo.tool_user import tool_user
from workflows.formats import judge_prompts, prompts, steps, tool_prompts

SLOPPY = solutions.Habits(slip=0.15)


class ScriptedWorld:
    """Scripts that know the problems by their texts."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        self._by_text = {problem.text: problem for problem in problems}
        self.prompts: list[Chat] = []
        """Every chat that was asked, for tests of what enters a prompt."""

    def engine(self, role: str) -> ScriptedEngine:
        """An engine that plays one role."""
        script = {
            "policy": self.policy,
            "completer": self.completer,
            "rationale": self.rationale,
            "judge": self.judge,
            "verifier": self.verifier,
        }
        return ScriptedEngine(script[role], EngineSettings(kind="scripted", model=role))

    def policy(self, chat: Chat, seed: int) -> str:
        """A solution that slips now and then."""
        self.prompts.append(chat)
        written = solutions.write(self._problem(chat), SLOPPY, random.Random(seed))
        return steps.join(written.steps).removeprefix(steps.header(1))

    def completer(self, chat: Chat, seed: int) -> str:
        """The right answer nine times in ten from right steps, else one time in ten."""
        self.prompts.append(chat)
        problem = self._problem(chat)
        done = steps.split(chat.prefill)[:-1]
        right = check.first_error(problem, done) is None
        answer = problem.answer
        if random.Random(seed).random() > (0.9 if right else 0.1):
            answer = "1" + answer
        apart = "" if chat.prefill[-1:].isspace() else " "  # after a step's beginning
        return f"{apart}Thus.\n\n{steps.header(len(done) + 2)}The answer is \\boxed{{{answer}}}."

    def rationale(self, chat: Chat, seed: int) -> str:
        """The verification that the world's own writer gives; none where it misses the truth."""
        self.prompts.append(chat)
        if chat.messages[0].content == tool_prompts.TOOL_USER.text:
            return tool_user(chat, seed)
        shown = re.findall(r"<paragraph_\d+>\n(.*?)\n</paragraph_\d+>", chat.messages[1].content)
        verified = rationales.verify(self._problem(chat), shown)
        if verified is None:
            return "I can't say.</verify>\n</think>"
        opened = prompts.rationale_chat("", shown).prefill
        whole = opened + verified.reply
        if chat.prefill.endswith(prompts.CONCLUSION):
            return f"{verified.index}" + "}"
        return whole.removeprefix(chat.prefill)

    def judge(self, chat: Chat, seed: int) -> str:
        """Every form of judging, misreading a paragraph now and then; a critique finds it."""
        self.prompts.append(chat)
        asked = chat.messages[1].content
        problem, rng = self._problem(chat), random.Random(seed)
        solution = asked.split("[Solution]\n\n")[1]
        shown = re.findall(r"<paragraph_\d+>\n(.*?)\n</paragraph_\d+>", solution)
        judged = judgements.judge(problem, shown)
        if judged is None:
            return "I can't say."
        if judge_prompts.REPAIR_RULES in asked:
            return judgements.repair(problem, judged) or "I can't say."
        if chat.prefill == judge_prompts.CRITIQUE_HEADING:
            return judgements.meta(judged, ())
        if judge_prompts.MERGE_RULES in asked:
            return judgements.critique(judged)
        if chat.prefill == judge_prompts.MY_SOLUTION:
            return judgements.resolve(problem, judged)
        if judge_prompts.ALIGN_RULES in asked:
            return judgements.align(judged)
        misread = judgements.misreadings(judged, rng) if rng.random() < 0.3 else ()
        return judgements.critique(judged, misread)

    def verifier(self, chat: Chat, seed: int) -> str:
        """Scores a verification by what really is wrong."""
        self.prompts.append(chat)
        asked = chat.user.removesuffix(judge_prompts.REASONS_RULES)
        solution, verification = asked.split("[Solution]\n\n")[1].split(
            judge_prompts.VERIFICATION_SHOWN
        )
        shown = re.findall(r"<paragraph_\d+>\n(.*?)\n</paragraph_\d+>", solution)
        judged = judgements.judge(self._problem(chat), shown)
        found = None if judged is None else judgements.reasons(judged, verification)
        return "I can't say." if found is None else found[0]

    def _problem(self, chat: Chat) -> Problem:
        text = chat.messages[1].content
        found = re.search(r"\[Math Problem\]\n\n(.*?)\n\n\[", text, re.DOTALL)
        return self._by_text[found[1] if found else text]


class InProcessSandbox:
    """Runs the world's own code in this process; it is never given a stranger's."""

    @asynccontextmanager
    async def session(self, key: str) -> AsyncIterator[InProcessSession]:
        """One namespace across blocks."""
        yield InProcessSession()

    async def run(self, request: Request, limits: Limits | None = None) -> Execution:
        """One block in a fresh namespace."""
        return await InProcessSession().run(request.code, limits)

    async def close(self) -> None:
        """Nothing to release."""


class InProcessSession:
    """A namespace."""

    def __init__(self) -> None:
        self._names: dict[str, object] = {}

    async def run(self, code: str, limits: Limits | None = None) -> Execution:
        """Execute one block."""
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            exec(code, self._names)
        return Execution(
            Verdict.OK, 0, None, printed.getvalue(), "", False, False, 0.0, 0.0, 0, 0.0, "here"
        )


def scripted_build(run: str, estimate: Mapping[str, Any], **stages: Any) -> dict[str, Any]:
    """A build of `problems.jsonl` with scripted models, as its YAML file says it."""
    model = {"kind": "scripted", "model": "scripted"}
    return {
        "run": run,
        "problems": "problems.jsonl",
        "shard_size": 4,
        "models": {"policy": model, "completer": model, "rationale": model},
        "stages": {"seed": 3, "sample": {"cap": 64}, "estimate": dict(estimate), **stages},
    }


def world_problems(count: int, seed: int = 0) -> list[Problem]:
    """Different problems of the demo world."""
    return list(world.sample(count, seed, "train", levels=(1, 2, 3)))


def write_problems(problems: Sequence[Problem], file: Path) -> Path:
    """The problems as the JSON lines that a build reads."""
    import json

    rows: list[Mapping[str, object]] = [world.row(problem) for problem in problems]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return file
