"""Several runs in one training: each split as it would be alone, then held against the others.

    repeated        a conversation whose solution an earlier run has too
    held out too    one that its run alone would train on, but another run holds its problem out
    contaminated    one to be trained on whose problem has 13 words in a row with a problem that
                    another run holds out (`workflows.inputs.overlap`)

Invariant: no problem's text has conversations on both sides, whatever its runs call it; what was
held out of a training on one run is held out of a training on that run and others.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import count

from workflows.inputs.overlap import Benchmarks, key_of
from workflows.runs.several import Key
from workflows.training.settings import BetweenRuns

REPEATED, CONTAMINATED, HELD_OUT_TOO = "repeated", "contaminated", "held_out_with_another_run"
"""Names of the counts; what is dropped for the first two is counted with `dropped_` before it."""


@dataclass(frozen=True, slots=True)
class Part:
    """The conversations of one run."""

    run: str
    rows: Sequence[tuple[Key, str]]
    """(solution, problem_id) of each."""
    texts: Mapping[str, str]
    """problem_id -> text."""
    held: frozenset[str]
    """Its problems that a training on it alone would hold out."""

    def text(self, problem_id: str) -> str:
        """The text of a problem."""
        return self.texts.get(problem_id, problem_id)


def mixed(
    parts: Sequence[Part], between: BetweenRuns, counts: Counter[str]
) -> tuple[list[int], list[int]]:
    """(trained on, held out) of all runs together, as numbers of rows over all of them; `counts`
    gets what they have in common.
    """
    train: list[int] = []
    held_out: list[int] = []
    rows = count()
    seen: dict[Key, int] = {}
    texts = [sorted(part.text(name) for name in part.held) for part in parts]
    held = {key_of(text) for of_run in texts for text in of_run}
    for number, part in enumerate(parts):
        others = Benchmarks(
            {
                other.run: of_run
                for other, of_run in zip(parts, texts, strict=True)
                if other is not part
            }
        )
        tainted: dict[str, bool] = {}
        for (key, name), row in zip(part.rows, rows, strict=False):
            if seen.setdefault(key, number) != number and _left_out(
                REPEATED, between.repeated, counts
            ):
                continue
            if key_of(part.text(name)) in held:
                counts[HELD_OUT_TOO] += name not in part.held
                held_out.append(row)
                continue
            if name not in tainted:
                tainted[name] = others.shared(part.text(name)) is not None
            if not (tainted[name] and _left_out(CONTAMINATED, between.contaminated, counts)):
                train.append(row)
    counts["problems_held_out"] = len(held)
    return train, held_out


def _left_out(what: str, setting: str, counts: Counter[str]) -> bool:
    """Count a conversation; whether the setting leaves it out."""
    drops = setting == "drop"
    counts[f"dropped_{what}" if drops else what] += 1
    return drops
