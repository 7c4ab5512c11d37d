"""Stage `translate`: a model writes what each step says as a formula for Z3, and its words again.

Three requests a path. The first shows problem and steps and asks for formulas. The second shows
the formulas alone and asks what they say. The third compares these words with the problem and the
steps. A path of which any formula says something else is dropped: what Z3 would decide of it is
not the step. Stage `formalize` decides the others.

Invariant: neither an answer nor a label reaches a prompt, and no step reaches the second one. Every
text that was paid for becomes part of a row, also of a dropped path.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

from actors.engines.contract import Chat, Completion, Refusal
from actors.workers.contract import ShardResult, process_items
from actors.workers.yields import note_reading
from storage.bounds import STRICT, Positive, Share, Temperature
from storage.errors import ItemError
from storage.rows.kinds import LABELS, PATHS, PROBLEMS, TRANSLATIONS, ShardRows
from storage.rows.records import Translation
from workflows.formats.statements import (
    Informal,
    read_same,
    read_statements,
    read_words,
    same_chat,
    say_chat,
    state_chat,
)
from workflows.settings import StageSettings, sampling_of
from workflows.stages.kit import TEMPLATE, Kit, KitStage, Stage
from workflows.stages.writing.draft import Solution, solutions_of

Found = TypeVar("Found")


@dataclass(frozen=True, slots=True, kw_only=True)
class TranslateSettings:
    """Stage `translate`: formulas written by a model."""

    __pydantic_config__ = STRICT

    temperature: Temperature = 0.6
    top_p: Share = 0.95
    top_k: int = -1
    max_tokens: Positive = 4096
    """Generated tokens of one text; one that is cut here is unreadable."""
    attempts: Positive = 2
    """Tries per path before it is dropped."""
    back: bool = True
    """Translate the formulas back and compare. False: what they say is not checked."""


class Translator(KitStage[StageSettings]):
    """Translates paths with the rationale model."""

    def __init__(self, kit: Kit[StageSettings]) -> None:
        super().__init__(kit)
        self._asked: TranslateSettings = kit.own
        self._sampling = sampling_of(self._asked)

    async def run(self, rows: ShardRows) -> ShardResult[Translation]:
        """Translate the paths of a shard.

        A translation that does not stand becomes a row too, before the one that stands. Drops, per
        path: `not_formal`, `statement_differs`, `too_long`. Raises InfrastructureError.
        """
        tried: dict[str, list[Translation]] = {}

        async def one(solution: Solution) -> list[Translation]:
            for attempt in range(self._asked.attempts):
                row, error = await self._translated(solution, attempt)
                tried.setdefault(solution.path_id, []).append(row)
                if error is None:
                    return [row]
            assert error is not None
            raise error

        solutions = solutions_of(rows, self.kit.reads(LABELS))
        _, drops = await process_items(solutions, lambda solution: solution.path_id, one)
        made = [row for solution in solutions for row in tried.get(solution.path_id, ())]
        return ShardResult(
            tuple(made),
            tuple(drops),
            {
                "tokens": sum(row.tokens for row in made),
                "dropped_texts": sum(row.dropped is not None for row in made),
            },
        )

    async def _translated(
        self, solution: Solution, attempt: int
    ) -> tuple[Translation, ItemError | None]:
        texts, problem, written = self.kit.texts, solution.problem, solution.steps
        steps = len(written)
        row = Translation(
            path_id=solution.path_id, problem_id=solution.problem_id, attempt=attempt, premises="",
            claims=[], said=[], same=[], texts=[], model=self.kit.model, tokens=0,
            seed=self.kit.seed_of(f"{solution.path_id}\x1f{attempt}\x1f0"),
        )  # fmt: skip
        try:
            row, done = await self._said(row, state_chat(problem, written, texts))
            premises, claims = _read(row, done, lambda text: read_statements(text, steps))
            row = replace(row, premises=premises, claims=claims)
            if self._asked.back:
                row, done = await self._said(row, say_chat(premises, claims, texts))
                row = replace(row, said=_read(row, done, lambda text: read_words(text, steps)))
                row, done = await self._said(row, same_chat(problem, written, row.said, texts))
                row = replace(row, same=_read(row, done, lambda text: read_same(text, steps)))
                _refuse_other_words(row.same)
        except ItemError as error:
            if not row.texts:
                raise  # the model can't be asked
            return replace(row, dropped=str(error)), error
        return row, None

    async def _said(self, row: Translation, chat: Chat) -> tuple[Translation, Completion]:
        """Ask for one text; return the row with it, and the completion."""
        seed = self.kit.seed_of(f"{row.path_id}\x1f{row.attempt}\x1f{len(row.texts)}")
        reply = await self.kit.engine.generate(chat, replace(self._sampling, n=1, seed=seed))
        (done,) = reply.completions
        texts, tokens = [*row.texts, done.after(chat.prefill)], row.tokens + done.tokens
        return replace(row, texts=texts, tokens=tokens), done


def _read(row: Translation, done: Completion, read: Callable[[str], Found]) -> Found:
    """Read the row's last text. Raises ItemError for another form, or a text that was cut."""
    text = row.texts[-1]
    with note_reading(row.path_id, text):
        if done.finish_reason != "stop":
            raise ItemError(Informal.NOT_FORMAL, f"cut at {done.tokens} tokens")
        return read(text)


def _refuse_other_words(same: Sequence[bool | None]) -> None:
    """Raise ItemError for the first formula that does not say what it should."""
    for number, verdict in enumerate(same):
        if verdict is not True:
            what = f"step {number}" if number else "the problem"
            said = "says something else" if verdict is False else "was not compared"
            raise ItemError(Informal.STATEMENT_DIFFERS, f"the formula of {what} {said}")


TRANSLATE = Stage(
    rows=TRANSLATIONS,
    role="rationale",
    asks=("translate_system", "state", "say_back", "same"),
    reads=(PROBLEMS, PATHS, LABELS),
    without=(LABELS,),
    names_only=(LABELS,),
    remedy=f"the model does not write formulas in the form that it is asked for: {TEMPLATE}, or "
    "take a stronger one",
    says="writes every step as a formula for Z3, and drops what does not say the step",
    settings=TranslateSettings,
    passed="put into formulas by a model",
    caveat="""\
- Formulas are written by a model. Translated back by the same model they say what their steps say;
  an error that it makes in both directions is not found.
""",
    drops=(*Informal, *Refusal),
    make=Translator,
)
