"""Maj@N that writes no history whose outcome can't change a verdict (`workflows.votes.pruning`).

The histories of a response come in waves. Those of a wave judge a step, wait for each other, and go
on only while a step is open. What is left out is neither begun nor judged to its end.

Invariant: which histories are begun, and how far each goes, follows from rewards alone, never from
which of them was faster.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from functools import partial

from actors.engines.admission import together
from actors.sandbox.session import retried_item
from storage.errors import ItemError
from storage.rows.records import Verification
from workflows.stages.scorers.contract import Ended, Scored, Scorer, nobody
from workflows.stages.scorers.holding import told
from workflows.votes.pruning import Tally


class _Wave:
    """Lets the histories of a wave judge step by step, side by side."""

    def __init__(self, tally: Tally) -> None:
        self._tally = tally
        self._goes_on: dict[int, asyncio.Future[bool]] = {}
        """Step -> whether the wave judges the next one; a history that is begun anew reads it."""

    def judged(self, history: int, step: int, reward: float) -> asyncio.Future[bool]:
        """A history has judged a step; return what will say, after the others, if it goes on."""
        self._tally.note(history, step, reward)
        if step not in self._goes_on:
            self._goes_on[step] = asyncio.get_running_loop().create_future()
        self._decide(step)
        return self._goes_on[step]

    def lose(self, history: int) -> None:
        """A history ended with an error; the others do not wait for it."""
        self._tally.lose(history)
        for step in self._goes_on:
            self._decide(step)

    def _decide(self, step: int) -> None:
        future = self._goes_on[step]
        if not future.done() and self._tally.all_judged(step):
            future.set_result(step + 1 < self._tally.wanted())


async def score_pruned(
    scorer: Scorer,
    problem: str,
    steps: Sequence[str],
    name: str,
    tally: Tally,
    ended: Ended = nobody,
) -> Scored:
    """As `workflows.stages.scorers.contract.score`, with the histories that `tally` asks for."""
    rows: list[Verification] = []
    lost: list[ItemError] = []

    async def once(wave: _Wave, number: int) -> Verification:
        judging = scorer.begin(problem, name, number)
        try:
            for at, step in enumerate(steps):
                (reward,) = await judging.judge(step)
                goes_on, judging = await told(wave.judged(number, at, reward), judging)
                if not goes_on:
                    break
        except BaseException as error:
            ended(judging, error)
            raise
        finally:
            await judging.close()
        ended(judging, None)
        return judging.row()

    async def settled(wave: _Wave, number: int) -> None:
        try:
            rows.append(await retried_item(partial(once, wave, number)))
        except ItemError as error:
            lost.append(error)
            wave.lose(number)

    while numbers := tally.begin():
        wave = _Wave(tally)
        await together(*(settled(wave, number) for number in numbers))
    if not rows:
        raise lost[0]
    return Scored(sorted(rows, key=lambda row: row.history), lost)
