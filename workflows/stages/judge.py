"""Stage `judge`: independent verifications of every path, without code, by one model.

A seat is a prompt with what it may see of the truth. Each seat of a panel verifies several times.
Under meta-critique the same model criticises every verification and then writes it again. Beside
the whole path, shorter prefixes of it are verified where that is asked for.

Invariant: a seat's prompt is made only of what the seat may know. Every text becomes a row,
readable or not, so that votes can be counted again in another way.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import product

from actors.engines.contract import Chat, Completion, Refusal
from actors.workers.contract import ShardResult, process_items
from actors.workers.yields import Text, note_reply
from storage.errors import ItemError
from storage.rows.kinds import JUDGEMENTS, LABELS, PATHS, PROBLEMS, ShardRows
from storage.rows.records import Judgement, Path, Problem
from storage.runs.specs import Difference, Spec
from workflows.formats.thoughts import parted
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
            asked = product(self._panel, self._lengths(path))
            parts = await asyncio.gather(
                *(self._ask(problem, path, seat, steps) for seat, steps in asked)
            )
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
                **({"cut in thought": cut} if (cut := _cut_in_thought(judgements)) else {}),
            },
        )

    def _lengths(self, path: Path) -> list[int]:
        """The lengths of the prefixes that are verified, the whole path first."""
        whole = len(path.steps)
        count = min(self._asked.prefixes, whole) - 1
        draw = random.Random(self.kit.seed_of(f"{path.path_id}\x1fprefixes"))
        return [whole, *sorted(draw.sample(range(1, whole), count), reverse=True)]

    async def _ask(self, problem: Problem, path: Path, seat: Seat, steps: int) -> list[Judgement]:
        """All texts of one seat about a path's first steps, in the order of its verifications."""
        prefix = replace(path, steps=path.steps[:steps])
        whole = steps == len(path.steps)
        about = _About(prefix, None if whole else steps)
        chat = seat.chat(problem, prefix.steps)
        verified = await self._generate(chat, about, seat, 0, "verify", self._asked.votes)
        if self._asked.aggregator != "meta_critique":
            return verified
        revised = await asyncio.gather(
            *(self._revise(problem, about, seat, first) for first in verified)
        )
        return [row for part in zip(verified, revised, strict=True) for row in (part[0], *part[1])]

    async def _revise(
        self, problem: Problem, about: _About, seat: Seat, first: Judgement
    ) -> list[Judgement]:
        """Ask for a critique of a verification, and for its revision."""
        steps = about.path.steps
        chat = seat.critique_chat(problem, steps, first.text)
        (critique,) = await self._generate(chat, about, seat, first.number, "critique", 1)
        criticism = critique.text.removeprefix(chat.prefill)
        chat = seat.merge_chat(problem, steps, first.text, criticism)
        return [critique, *await self._generate(chat, about, seat, first.number, "merge", 1)]

    async def _generate(
        self, chat: Chat, about: _About, seat: Seat, number: int, turn: str, count: int
    ) -> list[Judgement]:
        path = about.path
        item = f"{path.path_id}\x1f{seat.prompt}\x1f{seat.sees}\x1f{turn}"
        item += f"\x1f{about.steps}" if about.steps else ""
        seed = self.kit.seed_of(item, number)
        if self._asked.thinks:
            chat = replace(chat, prefill="")
        reply = await self.kit.engine.generate(chat, replace(self._sampling, n=count, seed=seed))

        def row(offset: int, completion: Completion) -> Judgement:
            thought, text = parted(
                completion.after(chat.prefill), completion.thought, self._asked.thinks
            )
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
                thought=thought or None,
                steps=about.steps,
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


@dataclass(frozen=True, slots=True)
class _About:
    """What is judged."""

    path: Path
    """With the steps of the prefix alone."""
    steps: int | None
    """As `Judgement.steps`."""


def _cut_in_thought(rows: Sequence[Judgement]) -> int:
    return sum(row.only_thought for row in rows)


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
    reads=(PROBLEMS, PATHS, LABELS),
    without=(LABELS,),
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
