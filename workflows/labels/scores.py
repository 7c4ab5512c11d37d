"""Compares labels with a truth, or with other labels: counts, precision, recall, F1.

The positive class is "this step is wrong". If the truth is a single index, every step from that
index on is wrong.

Invariant: only counts are kept, so the order of the paths does not matter.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from workflows.labels.rule import first_error


@dataclass(slots=True)
class Scores:
    """Counts of labelled steps by label and truth."""

    paths: int = 0
    whole: int = 0
    """Number of paths whose labels all equal the truth."""
    first: int = 0
    """Number of paths whose first error equals the truth's."""
    steps: Counter[tuple[bool, bool]] = field(default_factory=Counter)
    """(labelled wrong, is wrong) -> number of steps."""

    def add(self, labels: Sequence[bool], truth: int | None) -> None:
        """Compare a path with the 0-based index of its true first error; None: it has none."""
        right = [truth is None or i < truth for i in range(len(labels))]
        self.steps.update((not a, not b) for a, b in zip(labels, right, strict=True))
        self.paths += 1
        self.whole += list(labels) == right
        self.first += first_error(labels) == truth

    def add_labels(self, labels: Sequence[bool], truth: Sequence[bool]) -> None:
        """Compare a path's labels with the truth of the same steps."""
        known = list(truth[: len(labels)])
        self.steps.update((not a, not b) for a, b in zip(labels, known, strict=True))
        self.paths += 1
        self.whole += list(labels) == known
        self.first += first_error(labels) == first_error(truth)

    @property
    def labelled_wrong(self) -> float:
        """Share of steps that are labelled wrong."""
        wrong = self.steps[True, True] + self.steps[True, False]
        return wrong / max(1, self.steps.total())

    @property
    def precision(self) -> float:
        """Share of the steps labelled wrong that are wrong."""
        return self.steps[True, True] / max(1, self.steps[True, True] + self.steps[True, False])

    @property
    def recall(self) -> float:
        """Share of the wrong steps that are labelled wrong."""
        return self.steps[True, True] / max(1, self.steps[True, True] + self.steps[False, True])

    @property
    def f1(self) -> float:
        """Harmonic mean of precision and recall."""
        both = self.precision + self.recall
        return 2 * self.precision * self.recall / both if both else 0.0

    @property
    def error(self) -> float:
        """Share of labels that differ from the truth."""
        wrong = self.steps[True, False] + self.steps[False, True]
        return wrong / max(1, self.steps.total())

    @property
    def first_accuracy(self) -> float:
        """Share of paths whose first error equals the truth's."""
        return self.first / max(1, self.paths)


def difference(ours: Mapping[str, Sequence[bool]], theirs: Mapping[str, Sequence[bool]]) -> Scores:
    """Compares the labels of the paths that both have, with `theirs` as the truth."""
    scores = Scores()
    for path_id in sorted(ours.keys() & theirs.keys()):
        both = min(len(ours[path_id]), len(theirs[path_id]))
        scores.add_labels(list(ours[path_id])[:both], list(theirs[path_id])[:both])
    return scores
