"""Which verdicts of Maj@N are decided before all N histories are written.

A step is right if the mean reward of its histories is at least 0.5 (equation 5): if the sum of
(reward - 0.5) is not negative. Each history that is still to come adds between -0.5 and 0.5, or
nothing if it is lost. So a verdict is decided once they can't change the sum's sign.

With `doubt` a verdict also counts as decided once the chance that they change it is at most that.
The histories to come are then taken as votes, each Yes with a probability that has the distribution
Beta(1 + sum of rewards, 1 + sum of (1 - reward)): their number of Yes is beta-binomial. A reward
between 0 and 1 varies less than a vote of its mean, so this rather overstates the chance.

Invariant: all is a function of rewards alone, never of the order in time in which they came. With
`doubt` 0 no outcome of the histories that are left out changes a verdict.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from typing import Literal

from workflows.votes.rewards import THRESHOLD

Prune = Literal["off", "steps", "first_error"]
"""Which verdicts must be those of all N histories: `steps`, each step's; `first_error`, only which
step is the first wrong one."""
_SUREST = 1 - 1e-6


def decided(rewards: Collection[float], left: int, doubt: float = 0.0) -> bool:
    """Whether `left` further histories can't change the verdict of a step with these rewards.

    `doubt`: the chance of a change that is put up with.
    """
    if left == 0:
        return True
    lead = math.fsum(reward - THRESHOLD for reward in rewards)
    if lead >= left / 2 or lead < -left / 2:
        return True
    return doubt > 0 and bool(rewards) and changes(rewards, left) <= doubt


def changes(rewards: Collection[float], left: int) -> float:
    """The chance that the votes of `left` further histories change a step's verdict, in 0..1."""
    total = math.fsum(rewards)
    yes, no = 1 + total, 1 + len(rewards) - total
    needed = (len(rewards) + left) / 2 - total
    """Votes for Yes with which the mean is at least 0.5."""
    reached = math.fsum(
        _beta_binomial(count, left, yes, no) for count in range(left + 1) if count >= needed
    )
    return 1 - reached if total >= len(rewards) / 2 else reached


def _beta_binomial(count: int, trials: int, yes: float, no: float) -> float:
    """P(`count` of `trials`) where the probability of one has the distribution Beta(yes, no)."""
    return math.comb(trials, count) * math.exp(
        _log_beta(count + yes, trials - count + no) - _log_beta(yes, no)
    )


def _log_beta(a: float, b: float) -> float:
    return math.lgamma(a) + math.lgamma(b) - math.lgamma(a + b)


def least_more(rewards: Collection[float], left: int, doubt: float = 0.0) -> int:
    """The fewest of `left` further histories after which the verdict can be decided.

    Their rewards are taken to be below 1: hardly any is 1, and a tie of 4 to 4 is none then.
    """
    known = list(rewards)
    for more in range(left):
        agreed = ([*known, *[vote] * more] for vote in (_SUREST, 0.0))
        if any(decided(rewards, left - more, doubt) for rewards in agreed):
            return more
    return left


class Tally:
    """The rewards of one response's histories, and which of them are still needed.

    Histories are numbered from 0 and begun in waves; within a wave all judge a step before any
    judges the next.
    """

    def __init__(self, steps: int, histories: int, prune: Prune, doubt: float = 0.0) -> None:
        """`steps`: of the response; `histories`: N of Maj@N."""
        self._rewards: list[dict[int, float]] = [{} for _ in range(steps)]
        self._histories = histories
        self._first_only = prune == "first_error"
        self._doubt = doubt
        self._begun = 0
        self._going: set[int] = set()

    def begin(self) -> Sequence[int]:
        """Begin the next wave; return its histories, none if all is decided.

        It has as many as some open step needs at least, so that none of them is in vain.
        """
        end = self.wanted()
        left = self._histories - self._begun
        sizes = (
            least_more(self._rewards[step].values(), left, self._doubt)
            for step in range(end)
            if self._open(step)
        )
        wave = range(self._begun, self._begun + max(sizes, default=0))
        self._begun = wave.stop
        self._going = set(wave)
        return wave

    def note(self, history: int, step: int, reward: float) -> None:
        """A history of the wave has judged a step (from 0)."""
        self._rewards[step][history] = reward

    def lose(self, history: int) -> None:
        """A history ended with an error: none of its rewards counts."""
        self._going.discard(history)
        for rewards in self._rewards:
            rewards.pop(history, None)

    def all_judged(self, step: int) -> bool:
        """Whether every history of the wave has judged a step, or is lost."""
        return self._going <= self._rewards[step].keys()

    def wanted(self) -> int:
        """How many steps, from the first, still need histories; 0 where all is decided."""
        last = 0
        for step, rewards in enumerate(self._rewards):
            if self._open(step):
                last = step + 1
            elif self._first_only and _judged_wrong(rewards.values()):
                break
        return last

    def _open(self, step: int) -> bool:
        rewards = self._rewards[step]
        to_come = self._histories - self._begun + len(self._going - rewards.keys())
        return not decided(rewards.values(), to_come, self._doubt)


def _judged_wrong(rewards: Collection[float]) -> bool:
    return bool(rewards) and sum(rewards) / len(rewards) < THRESHOLD
