"""One path, whole: everything that its run holds of it, and why each label was given.

Invariant: what is stored is shown as it is stored; what is computed here (intervals, ratios in
words) is computed from the rows that stand beside it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from itertools import pairwise
from math import sqrt
from typing import Any

from storage.rows.kinds import (
    AGREEMENTS,
    EXAMPLES,
    FORMALIZED,
    JUDGEMENTS,
    LABELS,
    PATHS,
    PROBLEMS,
    PROVED,
    RATIONALES,
    REPAIRED,
    RETRIED,
    REWRITTEN,
    ROLLOUTS,
    TREE,
)
from storage.rows.records import Example, Path, PathLabels, StateRollouts
from storage.runs.run import Run
from workflows.looking.fates import Why, fates, unfolded_paths
from workflows.looking.run import OpenRun

Z95 = 1.959964
KNOWN = {kind.stage for kind in (
    PROBLEMS, PATHS, ROLLOUTS, PROVED, TREE, LABELS, RATIONALES, FORMALIZED, JUDGEMENTS, AGREEMENTS,
    REWRITTEN, REPAIRED, RETRIED, EXAMPLES,
)}  # fmt: skip
"""Stages whose rows have a place of their own; those of others are shown as they are."""
WRITTEN = (REWRITTEN, RATIONALES, FORMALIZED)
"""Rationales, those that are exported first."""


def path_page(run: OpenRun, path_id: str, shard: int | None = None) -> dict[str, Any]:
    """All of a path, ready for JSON. Raises NothingFound."""
    shard = run.shard_of(path_id) if shard is None else shard
    why = run.why(path_id, shard)
    return page_of(run.run, why, unfolded_paths(run.run, shard).get(path_id))


def path_pages(
    run: Run, shard: int, path_ids: Sequence[str] | None = None
) -> Iterator[dict[str, Any]]:
    """The same of some paths of a shard (None: all), each stage of which is read once."""
    leaves = unfolded_paths(run, shard)
    for why in fates(run, shard, path_ids):
        yield page_of(run, why, leaves.get(why.path_id))


def page_of(run: Run, why: Why, unfolded: Path | None = None) -> dict[str, Any]:
    """What became of a path, ready for JSON; `unfolded`: it, as later stages read it."""
    rows, path_id = why.rows, why.path_id
    sampled = (row for row in rows.get(PATHS.stage, ()) if row.path_id == path_id)
    path = next(sampled, unfolded)
    if path is not None and unfolded is not None:
        answer = unfolded.answer or path.answer  # a tree's paths have none
        path = replace(path, steps=unfolded.steps, correct=unfolded.correct, answer=answer)
    labels, example = _first(rows, LABELS.stage), _first(rows, EXAMPLES.stage)
    rollouts = list(rows.get(ROLLOUTS.stage, ()))
    return {
        "run": run.name,
        "path_id": path_id,
        "said": str(why),
        "stage": why.stage,
        "reason": why.reason,
        "detail": why.detail,
        "finished": why.finished,
        "problem": _plain(_first(rows, PROBLEMS.stage)),
        "path": _plain(path),
        "states": _states(path, labels, rollouts),
        "proved": _states(path, None, list(rows.get(PROVED.stage, ()))),
        "labels": _plain(labels),
        "reasons": _reasons(labels),
        "rationales": [
            asdict(row) for kind in WRITTEN for row in rows.get(kind.stage, ())
        ],
        "judgements": [asdict(row) for row in rows.get(JUDGEMENTS.stage, ())],
        "agreement": _plain(_first(rows, AGREEMENTS.stage)),
        "repairs": [
            asdict(row) for kind in (REPAIRED, RETRIED) for row in rows.get(kind.stage, ())
        ],
        "example": _plain(example),
        "notes": _notes(example),
        "others": {
            stage: [asdict(row) for row in found]
            for stage, found in rows.items() if found and stage not in KNOWN
        },
    }  # fmt: skip


def interval(c: float, n: int) -> tuple[float, float]:
    """Wilson's 95 % interval of a share of which `c` of `n` were seen (Wilson 1927)."""
    if n == 0:
        return 0.0, 1.0
    share, z2 = c / n, Z95 * Z95
    middle = (share + z2 / (2 * n)) / (1 + z2 / n)
    half = Z95 * sqrt(share * (1 - share) / n + z2 / (4 * n * n)) / (1 + z2 / n)
    return max(0.0, middle - half), min(1.0, middle + half)


def _states(
    path: Path | None, labels: PathLabels | None, rollouts: Sequence[StateRollouts]
) -> list[dict[str, Any]]:
    """State by state: what the labels read, what was rolled out, and how sure that is."""
    steps = len(path.steps) if path else max((row.state for row in rollouts), default=-1) + 1
    if labels is None and not rollouts:
        return []
    found = []
    for state in range(steps + 1):
        here = [row for row in rollouts if row.state == state]
        n, c = sum(row.counted for row in here), sum(row.c for row in here)
        low, high = interval(c, n)
        found.append({
            "state": state,
            "mc": _at(labels.mc, state) if labels else None,
            "n": n,
            "c": c,
            "low": low if n else None,
            "high": high if n else None,
            "q_pi": _at(labels.q_pi, state) if labels else None,
            "q_mu": _at(labels.q_mu, state) if labels else None,
            "truncated": sum(row.truncated for row in here),
            "tokens": sum(row.tokens for row in here),
            "shared": any(row.shared for row in here),
            "rules": sorted({row.stop_rule for row in here}),
            "model": here[0].model if here else None,
            "seeds": [row.seed for row in here],
            "answers": _answers(here),
        })  # fmt: skip
    return found


def _answers(rows: Sequence[StateRollouts]) -> list[dict[str, Any]]:
    """Answers that ended the rollouts of a state, the most frequent first."""
    counts: dict[tuple[str | None, bool], int] = {}
    for row in rows:
        for answer in row.answers:
            if answer.count:
                key = answer.answer, answer.correct
                counts[key] = counts.get(key, 0) + answer.count
    ordered = sorted(counts.items(), key=lambda entry: (-entry[1], str(entry[0][0])))
    return [{"answer": a, "correct": right, "count": n} for (a, right), n in ordered]


def _reasons(labels: PathLabels | None) -> list[str]:
    """Why each step is labelled as it is, in a line."""
    if labels is None:
        return []
    found = []
    zero = next((state for state, mc in enumerate(labels.mc) if mc == 0), None)
    moves = zip(labels.labels, pairwise(labels.mc), strict=False)
    for step, (right, (before, after)) in enumerate(moves):
        value = _at(labels.value, step)
        moved = f"MC {_share(before)} → {_share(after)}"
        if zero is not None and step >= zero:
            moved = f"MC is 0 since state {zero}"
        measured = "" if value is None else f": {labels.form} {_share(value)}"
        compared = "" if value is None else f" {'≥' if value >= labels.threshold else '<'} "
        bound = "" if value is None else _share(labels.threshold)
        found.append(f"{moved}{measured}{compared}{bound} → {'right' if right else 'wrong'}")
    return found


def _notes(example: Example | None) -> list[list[str]]:
    """For each exported step, what there is to say of its label."""
    if example is None:
        return []
    notes: list[list[str]] = [[] for _ in example.labels]
    for of_step, follows in zip(notes, example.follows, strict=False):
        of_step += ["follows from the first error, not judged itself"] if follows else []
    for of_step, by in zip(notes, example.contradicts, strict=False):
        of_step += [f"its {by.replace(',', ' and')} contradicts the label"] if by else []
    return notes


def _at(values: Sequence[float], number: int) -> float | None:
    """One of some values; None behind their end."""
    return values[number] if number < len(values) else None


def _share(value: float) -> str:
    return f"{value:.3f}".rstrip("0").rstrip(".")


def _first(rows: Mapping[str, Sequence[Any]], stage: str) -> Any:
    return next(iter(rows.get(stage, ())), None)


def _plain(row: Any) -> dict[str, Any] | None:
    return None if row is None else asdict(row)
