"""Rows of stage `sample` and `estimate` with nothing in them but what labels depend on, a pilot."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from storage.rows.records import AnswerCount, Path, StateRollouts
from workflows.estimation.posterior import Observed


def path(
    steps: int, correct: bool, *, problem_id: str = "p", index: int = 0, selected: bool = True
) -> Path:
    """A path of `steps` steps."""
    return Path(
        path_id=f"{problem_id}#{index}", problem_id=problem_id, index=index, round=0,
        text="Step. " * 10 * steps, finish_reason="stop",
        steps=[f"step {number}" for number in range(steps)], answer="1", correct=correct,
        valid=True, invalid_reason=None, duplicate_of=None, selected=selected, tokens=1, seed=0,
    )  # fmt: skip


def rows(
    counts: Sequence[tuple[int, int]], stop_rule: str = "exact", of: Path | None = None
) -> list[StateRollouts]:
    """Rows of states 0, 1, ... by their (c, n)."""
    whose = of or path(len(counts), True)
    return [
        StateRollouts(
            path_id=whose.path_id, problem_id=whose.problem_id, state=state, round=0, n=n, c=c,
            answers=[AnswerCount("1", c, True), AnswerCount("2", n - c, False)], truncated=0,
            stop_rule=stop_rule, shared=False, model="m", seed=0, tokens=1,
        )
        for state, (c, n) in enumerate(counts)
    ]  # fmt: skip


def pilot(paths: int = 200, k: int = 32, seed: int = 0) -> Observed:
    """Paths that stay where they are, halve, or die; as many right as wrong."""
    rng = np.random.default_rng(seed)
    q = np.zeros((paths, 6))
    q[:, 0] = rng.choice([0.3, 0.6, 0.9], paths)
    for t in range(1, 6):
        q[:, t] = q[:, t - 1] * rng.choice([1.0, 0.5, 0.0], paths, p=[0.8, 0.1, 0.1])
    correct = rng.random(paths) < q[:, 5]
    n = np.full(q.shape, k)
    return Observed(n, rng.binomial(n, q), np.full(paths, 6), correct)
