"""How many rollouts each state of a path gets, and what they say: MC(s) = c / n (equation 7).

The ledger calls a budget again whenever counts arrive. So fixed budgets, early stopping and
adaptive allocation share an interface.

Invariant: depends only on the settings and the counts so far. The last state of a path gets no
rollouts: the path's own answer grades it.
"""

from __future__ import annotations

from collections.abc import Mapping

from workflows.estimation.contract import Count, Want
from workflows.settings import EstimateSettings


def monte_carlo(c: int, n: int) -> float:
    """MC(s) = c / n: the share of n rollouts from s that end in the right answer (equation 7).

    Raises ValueError unless 0 <= c <= n and n > 0.
    """
    if not 0 <= c <= n or n == 0:
        raise ValueError(f"{c} right rollouts of {n}")
    return c / n


def rollouts_per_state(mc_1: float, settings: EstimateSettings) -> int:
    """K by MC(s1), in the paper's half-open intervals: `k_hard` below `hard_below`, `k_medium`
    below `easy_from`, `k_easy` up to and including 1.
    """
    if mc_1 < settings.hard_below:
        return settings.k_hard
    return settings.k_medium if mc_1 < settings.easy_from else settings.k_easy


def probes(steps: int, counts: Mapping[int, Count], k: int) -> tuple[int, int]:
    """(last state known to be live, first state known to be dead) of a wrong path, by halving.

    OmegaPRM's search: a state with a right rollout is live, and so is every state before it. A
    state without one in `k` rollouts is dead, and so is every state after it. State 0 is live,
    state T is dead. Once the two are neighbours, the step between them is the first error. That
    takes at most ceil(log2 T) states.
    """
    live, dead = 0, steps
    while dead - live > 1:
        middle = (live + dead) // 2
        count = counts.get(middle, Count(0, 0))
        if count.c:
            live = middle
        elif count.n >= k:
            dead = middle
        else:
            break
    return live, dead


class FixedBudget:
    """K rollouts per state: in all states (`exact`), or up to the first MC = 0.

    Both give the same labels: after the first MC = 0 every label is wrong by rule.
    """

    def __init__(self, settings: EstimateSettings) -> None:
        self._settings = settings
        self.stop_rule: str = settings.mc_budget
        self.probe = settings.probe

    def per_state(self, probed: Count) -> int:
        """K from the counts of the probe at state 0; that of MC 0 where none of them counts."""
        mc = monte_carlo(probed.c, probed.n) if probed.n else 0.0
        return rollouts_per_state(mc, self._settings)

    def wants(
        self, steps: int, k: int, counts: Mapping[int, Count], correct: bool = False
    ) -> tuple[Want, ...]:
        """Rollouts to make next for a path of `steps` steps, given the counts per state so far.

        Empty when the path is done. State 0 is in `counts` already. `correct` is ignored.
        """
        del correct
        missing = [state for state in range(1, steps) if state not in counts]
        if self.stop_rule == "exact":
            return tuple(Want(state, k) for state in missing)
        if not missing or counts[missing[0] - 1].c == 0:
            return ()
        return (Want(missing[0], k),)
