"""Rows of stage `sample` and `estimate` with nothing in them but what labels depend on."""

from __future__ import annotations

from collections.abc import Sequence

from storage.records import AnswerCount, Path, StateRollouts


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
