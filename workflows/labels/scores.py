"""Labels against a truth, and against other labels: counts and what follows from them.

Wrong steps are the class that is looked for: precision, recall and F1 are of "this step is wrong".
A truth that is one index says that every step from it on is wrong.

Invariant: counts only, added path by path; no order matters.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from workflows.labels.rule import first_error


@dataclass(slots=True)
class Scores:
    """Counts of labelled steps against the truth; positive means wrong step."""

    paths: int = 0
    whole: int = 0
    """Paths whose every label is true."""
    first: int = 0
    """Paths whose first error is true."""
    steps: Counter[tuple[bool, bool]] = field(default_factory=Counter)
    """(labelled wrong, is wrong) -> steps."""

    def add(self, labels: Sequence[bool], truth: int | None) -> None:
        """Compare one path with the index of its first error; None: it has none."""
        right = [truth is None or i < truth for i in range(len(labels))]
        self.steps.update((not a, not b) for a, b in zip(labels, right, strict=True))
        self.paths += 1
        self.whole += list(labels) == right
        self.first += first_error(labels) == truth

    def add_labels(self, labels: Sequence[bool], truth: Sequence[bool]) -> None:
        """Compare one path step by step, as far as it has labels."""
        known = list(truth[: len(labels)])
        said = list(labels)
        self.steps.update((not a, not b) for a, b in zip(said, known, strict=True))
        self.paths += 1
        self.whole += said == known
        self.first += first_error(said) == first_error(list(truth))

    @property
    def labelled_wrong(self) -> float:
        """Of all steps, the share labelled wrong."""
        wrong = self.steps[True, True] + self.steps[True, False]
        return wrong / max(1, self.steps.total())

    @property
    def precision(self) -> float:
        """Of the steps labelled wrong, the share that is."""
        return self.steps[True, True] / max(1, self.steps[True, True] + self.steps[True, False])

    @property
    def recall(self) -> float:
        """Of the wrong steps, the share labelled so."""
        return self.steps[True, True] / max(1, self.steps[True, True] + self.steps[False, True])

    @property
    def f1(self) -> float:
        """Harmonic mean of precision and recall."""
        both = self.precision + self.recall
        return 2 * self.precision * self.recall / both if both else 0.0

    @property
    def error(self) -> float:
        """Share of labels that are not the truth's."""
        wrong = self.steps[True, False] + self.steps[False, True]
        return wrong / max(1, self.steps.total())

    @property
    def first_accuracy(self) -> float:
        """Share of paths whose first error is the truth's."""
        return self.first / max(1, self.paths)


def difference(ours: Mapping[str, Sequence[bool]], theirs: Mapping[str, Sequence[bool]]) -> Scores:
    """Labels of the paths that both have, `theirs` in the place of the truth."""
    scores = Scores()
    for path_id in sorted(ours.keys() & theirs.keys()):
        both = min(len(ours[path_id]), len(theirs[path_id]))
        scores.add_labels(list(ours[path_id])[:both], list(theirs[path_id])[:both])
    return scores
