"""Verdicts of executed code on steps, and their combination with the path's outcome.

The verdict is the last word that a step's code prints: True or False. The hybrid value is
GroundedPRM's (released code, `rollout_value`). N is the number of steps from a step on, v_j in
{-1, +1} are their verdicts, F in {-1, +1} is the path's outcome:

    V = sum_{j=1..N} (1/N) * v_j * (N - j + 1) / N  +  (1/N) * F

The value of a step is the mean of V over itself and all later steps, with weight
`discount ** distance`.

Invariant: a step has a verdict only if its code ran to its end and printed such a last word.
Failures of the sandbox itself never get here.
"""

from __future__ import annotations

from collections.abc import Sequence

from storage.rows.records import CodeRun

_WORDS = {"True": True, "False": False}
_SIGNS = {True: 1, False: -1, None: 0}


def tool_verdicts(executions: Sequence[CodeRun], steps: int) -> list[bool | None]:
    """T verdicts, each from the step's last executed block; None: it printed neither word."""
    verdicts: list[bool | None] = [None] * steps
    for run in executions:
        if 0 <= run.step < steps:
            words = run.output.split() if run.verdict == "ok" else []
            verdicts[run.step] = _WORDS.get(words[-1]) if words else None
    return verdicts


def rollout_value(verdicts: Sequence[bool | None], outcome: bool) -> float:
    """V of the steps with these verdicts, in order; F alone without any.

    A step without a verdict (None) counts as 0.
    """
    n = len(verdicts)
    if not n:
        return 1.0 if outcome else -1.0
    signs = [_SIGNS[verdict] for verdict in verdicts]
    tool = sum(sign * (n - j) / n for j, sign in enumerate(signs)) / n
    return tool + (1 if outcome else -1) / n


def hybrid_values(verdicts: Sequence[bool], outcome: bool, discount: float) -> list[float]:
    """T values: for each step the mean of V over it and all later steps, discounted."""
    own = [rollout_value(verdicts[t:], outcome) for t in range(len(verdicts))]
    return [
        sum(discount**d * value for d, value in enumerate(own[t:])) / (len(own) - t)
        for t in range(len(own))
    ]
