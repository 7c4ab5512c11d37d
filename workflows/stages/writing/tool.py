"""A model that asks a tool about one step, and turns the tool's answer into a verdict.

The tool is Python in the sandbox. The model writes a query, reads what it printed, and judges the
step; a text without a verdict is written anew, a few times.

Invariant: the tool's answer is what the sandbox printed. Where the sandbox itself fails, no verdict
is made (`sandbox_lost`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

from actors.engines.contract import Chat, Completion, Engine, Sampling
from actors.sandbox.contract import Limits, Sandbox
from actors.sandbox.session import Interpreter, retried_item
from actors.workers.yields import Text, note_reply
from storage.rows.records import CodeRun
from workflows.formats.paper_form import PaperForm
from workflows.formats.templates import Texts
from workflows.formats.tool_prompts import (
    NO_QUERY,
    query_chat,
    read_query,
    read_verdict,
    verdict_chat,
)
from workflows.stages.writing.code_loop import run_block


@dataclass(frozen=True, slots=True)
class Checked:
    """What is known of a step after the tool was asked."""

    query: str
    runs: tuple[CodeRun, ...]
    verification: str
    """The query and the tool's answer."""
    reason: str
    verdict: bool | None
    tries: int
    tokens: int
    seed: int
    """Of the query."""


class ToolUser:
    """Checks steps, each by itself."""

    def __init__(
        self,
        engine: Engine,
        sandbox: Sandbox,
        limits: Limits,
        sampling: Sampling,
        tries: int,
        form: PaperForm,
        texts: Texts,
        seed_of: Callable[[str], int],
    ) -> None:
        """`tries`: most texts until one has a verdict; `form`: how a run is shown."""
        self._engine = engine
        self._sandbox = sandbox
        self._limits = limits
        self._sampling = sampling
        self._tries = tries
        self._form = form
        self._texts = texts
        self._seed_of = seed_of

    async def check(self, problem: str, before: Sequence[str], step: str, item: str) -> Checked:
        """Check the step behind the steps `before`; `item` names it among all that are checked.

        Raises ItemError for a refusal of engine or sandbox, and InfrastructureError.
        """
        asked, tokens = await self._said(
            query_chat(problem, before, step, self._texts), f"{item}\x1fquery"
        )
        query = read_query(asked.text) if asked.finish_reason == "stop" else ""
        runs: tuple[CodeRun, ...] = ()
        answer, shown = NO_QUERY, ""
        if query:
            run, block = await retried_item(partial(self._run, query, item))
            runs, answer = (run,), run.output
            shown = (self._form.code_block(query) + block).rstrip("\n")
        chat = verdict_chat(problem, before, step, answer, self._texts)
        verdict, reason, tries = None, "", 0
        while verdict is None and tries < self._tries:
            said, cost = await self._said(chat, f"{item}\x1fverdict\x1f{tries}")
            tokens, tries = tokens + cost, tries + 1
            if said.finish_reason == "stop":
                verdict, reason = read_verdict(said.text)
            note_reply([Text(item, said.text, None if verdict is not None else "no_verdict")])
        seed = self._seed_of(f"{item}\x1fquery")
        return Checked(query, runs, shown, reason, verdict, tries, tokens, seed)

    async def _said(self, chat: Chat, item: str) -> tuple[Completion, int]:
        sampling = replace(self._sampling, n=1, seed=self._seed_of(item))
        (done,) = (await self._engine.generate(chat, sampling)).completions
        return done, done.tokens

    async def _run(self, query: str, item: str) -> tuple[CodeRun, str]:
        async with Interpreter(self._sandbox, item) as interpreter:
            return await run_block(self._form, interpreter, 0, query, self._limits)
