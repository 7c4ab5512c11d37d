"""Stage `judge`: independent verifications of every path, without code, by one model.

A seat is a prompt with what it may see of the truth. Each seat of a panel verifies several times.
Under meta-critique the same model criticises every verification and then writes it again.

Invariant: a seat's prompt is made only of what the seat may know. Every text becomes a row,
readable or not, so that votes can be counted again in another way.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace

from actors.engines.contract import Chat, Completion, Refusal
from actors.workers.contract import ShardResult, process_items
from actors.workers.yields import Text, note_reply
from storage.errors import ItemError
from storage.rows.kinds import ALTERED, JUDGEMENTS, LABELS, PATHS, PROBLEMS, ShardRows
from storage.rows.records import Judgement, Path, Problem
from storage.runs.specs import Difference, Spec
from workflows.judging.ballots import read
from workflows.judging.references import check_references
from workflows.judging.seats import Opinion, Seat, Unjudged, panel
from workflows.settings import JudgeSettings, StageSettings, sampling_of
from workflows.stages.kit import HARD_STEPS_ARE_RARE, TEMPLATE, Kit, KitStage, Stage


class Judge(KitStage[StageSettings]):
    """Asks a panel about every path."""

    def __init__(self, kit: Kit[StageSettings]) -> None:
        super().__init__(kit)
        self._asked = kit.settings.judge
        self._panel = panel(self._asked, kit.texts)
        self._sampling = sampling_of(self._asked)

    async def run(self, rows: ShardRows) -> ShardResult[Judgement]:
        """Judge the paths of a shard.

        Drops, per path: `right_answer`, `no_reference_solution`, `too_long`. Raises
        InfrastructureError.
        """
        problems = {problem.problem_id: problem for problem in rows[PROBLEMS]}

        async def one(path: Path) -> list[Judgement]:
            if self._asked.paths == "wrong" and path.correct:
                raise ItemError(Unjudged.RIGHT_ANSWER)
            problem = problems[path.problem_id]
            parts = await asyncio.gather(*(self._ask(problem, path, seat) for seat in self._panel))
            return [row for part in parts for row in part]

        judgements, drops = await process_items(
            entering(rows, self.kit.reads(LABELS)), lambda path: path.path_id, one
        )
        return ShardResult(
            tuple(judgements),
            tuple(drops),
            {
                "tokens": sum(row.tokens for row in judgements),
                "verifications": sum(row.round == "verify" for row in judgements),
                "unreadable": sum(
                    row.round != "critique" and None in row.verdicts for row in judgements
                ),
            },
        )

    async def _ask(self, problem: Problem, path: Path, seat: Seat) -> list[Judgement]:
        """All texts of one seat about a path, in the order of its verifications."""
        chat = seat.chat(problem, path.steps)
        verified = await self._generate(chat, path, seat, 0, "verify", self._asked.votes)
        if self._asked.aggregator != "meta_critique":
            return verified
        revised = await asyncio.gather(
            *(self._revise(problem, path, seat, first) for first in verified)
        )
        return [row for part in zip(verified, revised, strict=True) for row in (part[0], *part[1])]

    async def _revise(
        self, problem: Problem, path: Path, seat: Seat, first: Judgement
    ) -> list[Judgement]:
        """Ask for a critique of a verification, and for its revision."""
        chat = seat.critique_chat(problem, path.steps, first.text)
        (critique,) = await self._generate(chat, path, seat, first.number, "critique", 1)
        criticism = critique.text.removeprefix(chat.prefill)
        chat = seat.merge_chat(problem, path.steps, first.text, criticism)
        return [critique, *await self._generate(chat, path, seat, first.number, "merge", 1)]

    async def _generate(
        self, chat: Chat, path: Path, seat: Seat, number: int, turn: str, count: int
    ) -> list[Judgement]:
        item = f"{path.path_id}\x1f{seat.prompt}\x1f{seat.sees}\x1f{turn}"
        seed = self.kit.seed_of(item, number)
        reply = await self.kit.engine.generate(chat, replace(self._sampling, n=count, seed=seed))

        def row(offset: int, completion: Completion) -> Judgement:
            text = completion.after(chat.prefill)
            opinion = (
                Opinion([], [], None) if turn == "critique" else seat.read(text, len(path.steps))
            )
            return Judgement(
                path_id=path.path_id,
                problem_id=path.problem_id,
                prompt=seat.prompt,
                sees=seat.sees,
                number=number + offset,
                round=turn,
                analyses=opinion.analyses,
                verdicts=opinion.verdicts,
                index=opinion.index,
                text=text,
                finish_reason=completion.finish_reason,
                model=self.kit.model,
                seed=self.kit.seed_of(item, number + offset),
                tokens=completion.tokens,
            )

        rows = [row(offset, completion) for offset, completion in enumerate(reply.completions)]
        if turn != "critique":
            note_reply(
                Text(path.path_id, judgement.text, self._flaw(judgement)) for judgement in rows
            )
        return rows

    def _flaw(self, row: Judgement) -> str | None:
        if says_something(self._asked, row):
            return None
        return "truncated" if row.finish_reason != "stop" else "unreadable"


def entering(rows: ShardRows, labelled: bool) -> list[Path]:
    """The paths to verify: the selected ones; if `labelled`, only those that have labels."""
    known = {row.path_id for row in rows[LABELS]}
    return [
        path for path in rows[PATHS] if path.selected and (not labelled or path.path_id in known)
    ]


def says_something(settings: JudgeSettings, row: Judgement) -> bool:
    """Whether a verification gives labels, and names an index or the verdict of a step itself."""
    named = row.index is not None or any(verdict is not None for verdict in row.verdicts)
    return named and read(row, settings, len(row.verdicts)) is not None


def _check(settings: StageSettings) -> None:
    panel(settings.judge)


def _check_input(settings: StageSettings, given: Sequence[Problem]) -> None:
    check_references(JUDGEMENTS.stage, settings.judge.sees, given)


READ_BY_CONSENSUS = ("judge.aggregator", "judge.verdicts", "judge.ungraded")
"""Settings of how stage `consensus` reads a verification. (A meta-critique changes the texts.)"""


def _redone(setting: str, difference: Difference, spec: Spec) -> bool | None:
    if setting in READ_BY_CONSENSUS:
        return "meta_critique" in difference.stored + difference.asked
    return None


JUDGE = Stage(
    rows=JUDGEMENTS,
    role="judge",
    reads=(PROBLEMS, PATHS, *ALTERED, LABELS),
    without=(*ALTERED, LABELS),
    names_only=(LABELS,),
    verifies=True,
    asks=("judge_system", "critique", "resolve", "align", "meta", "merge"),
    remedy=f"the judge does not keep the form of a verdict: {TEMPLATE}, or take a stronger one",
    says="verifies every path without code, by a panel of prompts",
    settings=JudgeSettings,
    check=_check,
    check_input=_check_input,
    redone=_redone,
    caveat="""\
- Analyses and judgements are those of a model that ran no code: it misses errors, and sees some
  where there are none.
""",
    lacks=HARD_STEPS_ARE_RARE,
    drops=(*Unjudged, *Refusal),
    make=Judge,
)
