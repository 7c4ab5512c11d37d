"""What executed code says of each step, and the value that it has together with the outcome.

A step's code says what it found with the last word it prints: True or False. The hybrid value is
GroundedPRM's (released code, `rollout_value`): over the N steps from a step on, with verdicts v in
{-1, +1} and the path's outcome F in {-1, +1},

    V = sum_{j=1..N} (1/N) * v_j * (N - j + 1) / N  +  (1/N) * F

and the values of later steps are backed up with `discount ** distance`, averaged over the visits.

Invariant: a step whose code did not run to its end, or says neither, has no verdict; the sandbox's
own trouble never gets here.
"""

from __future__ import annotations

from collections.abc import Sequence

from storage.rows.records import CodeRun

_WORDS = {"True": True, "False": False}


def tool_verdicts(executions: Sequence[CodeRun], steps: int) -> list[bool | None]:
    """True or False per step, from the last block that was run for it; None: it says neither."""
    found: list[bool | None] = [None] * steps
    for run in executions:
        if 0 <= run.step < steps:
            words = run.output.split() if run.verdict == "ok" else []
            found[run.step] = _WORDS.get(words[-1]) if words else None
    return found


def rollout_value(verdicts: Sequence[bool], outcome: bool) -> float:
    """V of the steps that are left, the first of them at j = 1."""
    n = len(verdicts)
    signs = [1 if right else -1 for right in verdicts]
    tool = sum(sign * (n - j) / n for j, sign in enumerate(signs)) / n
    return tool + (1 if outcome else -1) / n


def hybrid_values(verdicts: Sequence[bool], outcome: bool, discount: float) -> list[float]:
    """Value of each step: mean of its own V and of those of later steps, discounted."""
    own = [rollout_value(verdicts[t:], outcome) for t in range(len(verdicts))]
    return [
        sum(discount**d * value for d, value in enumerate(own[t:])) / (len(own) - t)
        for t in range(len(own))
    ]
