"""The contract of a scorer: a problem and steps in, a reward for each step out.

Stage `score`, a server and a search ask a process reward model through it, of whatever kind it is.
A solution may grow: its judging goes on with further steps, and can be forked for another
continuation.

Invariant: a reward is in [0, 1] and depends on the problem, the steps up to its own, and the seed
of the history alone: steps that are judged one by one get the rewards that they get together.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Protocol

from actors.engines.admission import together
from actors.sandbox.session import retried_item
from storage.errors import ItemError
from storage.rows.records import CodeRun, Verification
from workflows.votes.rewards import averaged


class Judging(ABC):
    """One history: a solution that is judged while it grows. Close it at the end."""

    rewards: list[float]
    """The rewards of the steps so far."""
    executions: list[CodeRun]
    degraded: list[bool]
    """For each step, whether it was judged without what its mode wants, as code that was run."""
    tokens: int
    """Generated tokens so far; of a model that generates nothing, those that it read."""
    calls: int
    """Requests so far."""
    text: str
    """What was written about the last step; "" where nothing is written."""

    @abstractmethod
    async def judge(self, *steps: str) -> list[float]:
        """Judge the next steps, without their headers; return their rewards.

        Raises ItemError (`too_long`, `no_verdict`, `control_token`), SandboxLost and
        InfrastructureError. The judging is then over; a fork that was taken before goes on.
        """

    @abstractmethod
    def fork(self) -> Judging:
        """Another history that goes on from here, by itself; what was judged is not paid again."""

    @abstractmethod
    def row(self) -> Verification:
        """What was judged so far."""

    @abstractmethod
    async def close(self) -> None:
        """Release the interpreter, if one is open. Idempotent."""


class Scorer(Protocol):
    """A process reward model behind its engine; safe to use by many tasks at once."""

    def begin(self, problem: str, name: str, history: int = 0) -> Judging:
        """Start history `history` of a solution. Seeds derive from `name` and `history`."""
        ...


Ended = Callable[[Judging, BaseException | None], None]
"""Is told of each history that ended, also of a try that is begun anew, with its error."""


Judged = Callable[[Judging], None]
"""Is told of each step once it is judged, also of those of a try that is begun anew."""


def nobody(judging: Judging, error: BaseException | None = None) -> None:
    """Nobody is told."""


@dataclass(frozen=True, slots=True)
class Scored:
    """What a scorer says of one solution of T steps."""

    histories: list[Verification]
    lost: list[ItemError]
    """Why the other histories ended without rewards."""

    @property
    def rewards(self) -> list[float]:
        """T values: mean rewards over the histories (equation 5)."""
        return averaged([history.rewards for history in self.histories])


async def score(
    scorer: Scorer,
    problem: str,
    steps: Sequence[str],
    name: str,
    histories: int = 1,
    ended: Ended = nobody,
    judged: Judged = nobody,
) -> Scored:
    """Judge a whole solution in independent histories.

    A history whose sandbox is lost is repeated with its seeds. Raises the first ItemError where all
    histories end with one, and InfrastructureError.
    """

    async def once(number: int) -> Verification:
        judging = scorer.begin(problem, name, number)
        try:
            if judged is nobody:
                await judging.judge(*steps)
            else:
                for step in steps:
                    await judging.judge(step)
                    judged(judging)
        except BaseException as error:
            ended(judging, error)
            raise
        finally:
            await judging.close()
        ended(judging, None)
        return judging.row()

    async def settled(number: int) -> Verification | ItemError:
        try:
            return await retried_item(partial(once, number))
        except ItemError as error:
            return error

    made = await together(*(settled(number) for number in range(histories)))
    rows = [one for one in made if isinstance(one, Verification)]
    lost = [one for one in made if isinstance(one, ItemError)]
    if not rows:
        raise lost[0]
    return Scored(rows, lost)
