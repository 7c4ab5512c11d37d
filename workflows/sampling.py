"""When the policy has been sampled enough, which samples are usable, and which go on.

Invariant: every rule is a pure function of the samples seen so far, taken in the order of their
indices, so that a repeated shard draws and selects the same paths. Invalid is not incorrect: an
invalid path (truncated, one step, no box) counts toward neither quota.
"""

from __future__ import annotations

from collections.abc import Sequence

from storage.records import Path
from workflows.settings import SampleSettings


def flaw(finish_reason: str, steps: Sequence[str], answer: str | None) -> str | None:
    """Why a path is invalid: `truncated`, `no_box` or `one_step`; None for a valid one."""
    if finish_reason != "stop":
        return "truncated"
    if answer is None:
        return "no_box"
    return "one_step" if len(steps) < 2 else None


def usable(paths: Sequence[Path], correct: bool) -> list[Path]:
    """The valid paths of one class, each text once, in the order of their indices."""
    return [
        path
        for path in sorted(paths, key=lambda path: path.index)
        if path.valid and path.duplicate_of is None and path.correct == correct
    ]


def pass_at_1(paths: Sequence[Path]) -> float:
    """Share of right answers in the first round, invalid paths and duplicates included.

    Only the first round: its size is fixed before anything is seen, while later rounds stop when
    the rarer class is found, which would bias the estimate. 0.0 where there is no such round.
    """
    first = [path.correct for path in paths if path.round == 0]
    return sum(first) / len(first) if first else 0.0


class QuotaRule:
    """Adaptive rounds until both classes have their quota, within one shared cap."""

    def __init__(self, settings: SampleSettings) -> None:
        self._settings = settings

    def flaw(self, finish_reason: str, steps: Sequence[str], answer: str | None) -> str | None:
        """See `flaw`."""
        return flaw(finish_reason, steps, answer)

    def next_round(self, paths: Sequence[Path]) -> int:
        """Samples to draw next; 0 once both quotas are full or the cap is reached."""
        wanted = self._settings
        size = wanted.round if paths else wanted.first_round
        if wanted.select == "all" and paths:
            return 0
        full = (
            len(usable(paths, correct=True)) >= wanted.correct
            and len(usable(paths, correct=False)) >= wanted.incorrect
        )
        return 0 if full else max(0, min(size, wanted.cap - len(paths)))

    def select(self, paths: Sequence[Path]) -> frozenset[str]:
        """path_ids that go on: the first of each class by index, topped up where settings say so.

        Empty where either class has no usable path.
        """
        right, wrong = usable(paths, correct=True), usable(paths, correct=False)
        if self._settings.select == "all":
            return frozenset(path.path_id for path in right + wrong)
        if not right or not wrong:
            return frozenset()
        rights, wrongs = self._settings.correct, self._settings.incorrect
        if self._settings.top_up:
            rights, wrongs = (
                rights + max(0, wrongs - len(wrong)),
                wrongs + max(0, rights - len(right)),
            )
        return frozenset(path.path_id for path in right[:rights] + wrong[:wrongs])

    def drop_reason(self, paths: Sequence[Path]) -> str | None:
        """Why a problem does not go on; None where it does.

        `no_valid_path`, `no_correct_path` or `no_incorrect_path`.
        """
        right, wrong = usable(paths, correct=True), usable(paths, correct=False)
        if not right and not wrong:
            return "no_valid_path"
        if self._settings.select == "all":
            return None
        if not right:
            return "no_correct_path"
        return None if wrong else "no_incorrect_path"
