"""Solutions in: those that exist before a run, in the place of what a policy would sample.

    ProcessBench   as `workflows.inputs.responses` reads it; `label` is people's
    PRM800K        question, label: its raw rows of either phase, whose ratings are people's
    plain          problem or problem_id, and steps, or a text as `solution`, `response`,
                   `completion`, `generation`, `output`, `text` or `reference_solution`; `label`,
                   where people gave one

A solution belongs to the problem of its problem_id, or else of its problem's text.

Invariant: a file with one bad row is refused whole; a solution of no known problem is counted, and
a step that nobody labelled is never taken for one that is right.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import PurePosixPath
from typing import Any

from pydantic import TypeAdapter, ValidationError

from storage.errors import InputError
from storage.rows.records import GivenSolutions, Origin, Problem, Response, ReusedSolutions
from workflows.answers import normal
from workflows.inputs.overlap import key_of
from workflows.inputs.problems import tables_of
from workflows.inputs.responses import Unheaded, response_of
from workflows.inputs.tables import NotARow

_ORIGIN = TypeAdapter(Origin)
_TEXTS = ("solution", "response", "completion", "generation", "output", "text",
          "reference_solution")  # fmt: skip
_PRM800K_ANSWER = "# Answer"


@dataclass(frozen=True, slots=True)
class ReadSolutions:
    """What was read."""

    by_problem: tuple[GivenSolutions, ...] | tuple[ReusedSolutions, ...]
    """In the order of the problems. Problems without a solution are left out, but not where
    rollouts are reused.
    """
    said: str


def read_given(
    source: str, problems: Sequence[Problem], unheaded: Unheaded = "blank_lines"
) -> ReadSolutions:
    """The solutions of a place, each with the problem that it solves. Raises InputError."""
    found, strangers = _matched(source, problems, unheaded)
    known = sum(map(len, found.values()))
    labelled = sum(row.label is not None for rows in found.values() for row, _ in rows)
    said = f"{source}: {known:,} solutions of {len(found):,} problems, {labelled:,} labelled"
    rows = (
        GivenSolutions(p.problem_id, [row for row, _ in found[p.problem_id]])
        for p in problems
        if p.problem_id in found
    )
    return ReadSolutions(tuple(rows), said + strangers)


def read_reused(source: str, problems: Sequence[Problem]) -> ReadSolutions:
    """The rollouts of a place that view `rollouts` wrote, for every problem. Raises InputError."""
    found, strangers = _matched(source, problems, "one_step")
    rows, runs = [], dict[str, None]()
    for problem in problems:
        solutions = found.get(problem.problem_id, [])
        origins = [_origin(origin, source) for _, origin in solutions]
        runs |= dict.fromkeys(origin.run for origin in origins)
        rows.append(ReusedSolutions(problem.problem_id, [row for row, _ in solutions], origins))
    known = sum(map(len, found.values()))
    said = f"{source}: {known:,} rollouts of {len(found):,} problems, of run {', '.join(runs)}"
    return ReadSolutions(tuple(rows), said + strangers)


def _origin(value: Any, source: str) -> Origin:
    try:
        return _ORIGIN.validate_python(value)
    except ValidationError:
        raise InputError(
            f"{source}: a solution has no `origin` as `stepmill download RUN FOLDER --view "
            "rollouts` writes it: name such a file, or leave `sample.reuse_rollouts` out"
        ) from None


def _matched(
    source: str, problems: Sequence[Problem], unheaded: Unheaded
) -> tuple[dict[str, list[tuple[Response, Any]]], str]:
    """problem_id -> (solution, its `origin`); what to say of those of other problems."""
    by_id = {problem.problem_id: problem for problem in problems}
    by_text: dict[str, Problem] = {}
    for problem in problems:
        by_text.setdefault(key_of(problem.problem), problem)
    found: dict[str, list[tuple[Response, Any]]] = defaultdict(list)
    strangers = total = 0
    for row, where, stem, number in _rows(source):
        total += 1
        named = by_id.get(str(row.get("problem_id")))
        of = named or by_text.get(key_of(str(row.get("problem", ""))))
        if of is None and not row.get("problem"):
            raise InputError(f"{where}: `problem` is missing, and no problem has its `problem_id`")
        if of is None:
            strangers += 1
            continue
        whole = {**row, "problem": of.problem, "problem_id": of.problem_id}
        response = response_of(whole, where, stem, number, unheaded)
        if response.answer is None and row.get(_PRM800K_ANSWER):
            response = replace(response, answer=normal(row[_PRM800K_ANSWER]) or None)
        found[of.problem_id].append((response, row.get("origin")))
    if not found:
        raise InputError(
            f"{source}: none of its {total:,} solutions is of a problem of `problems`: they are "
            "matched by `problem_id`, or by the problem's text"
        )
    return found, f"; {strangers:,} are of other problems" if strangers else ""


def _rows(source: str) -> Iterator[tuple[dict[str, Any], str, str, int]]:
    """(row in ProcessBench's words, where, name of its table, number in it)."""
    for name, _, rows in tables_of(source, "solutions"):
        stem = PurePosixPath(name.partition("?")[0]).name.partition(".")[0]
        for number, (place, row) in enumerate(rows):
            where = f"{name}, {place}"
            if isinstance(row, NotARow):
                raise InputError(f"{where}: {row.said}")
            if not isinstance(row, dict):
                raise InputError(f"{where}: must be an object with a problem and its solution")
            if isinstance(row.get("question"), Mapping) and isinstance(row.get("label"), Mapping):
                try:
                    row = _prm800k(row, where)
                except (KeyError, IndexError, TypeError, AttributeError) as error:
                    raise InputError(
                        f"{where}: `question` and `label` are not as in PRM800K: "
                        f"{type(error).__name__}: {error}"
                    ) from error
            elif row.get("steps") is None:
                text = next((row[key] for key in _TEXTS if row.get(key)), None)
                row = {**row, "solution": text}
            yield row, where, stem, number


def _prm800k(row: Mapping[str, Any], where: str) -> dict[str, Any]:
    """A raw row of PRM800K: its steps up to the end, and the first that is rated -1.

    Phase 1 has the steps that labelers chose or wrote; phase 2 a whole solution, labelled up to
    its first error. Where a labeler gave up, nobody says where the error is.
    """
    question, rated = row["question"], row["label"].get("steps") or []
    whole = question.get("pre_generated_steps")
    steps, label = list(whole or ()), None
    for index, step in enumerate(rated):
        said = _chosen(step)
        if said is None:
            raise InputError(f"{where}: step {index + 1} of `label` has no completion")
        text, rating = said
        if whole is None:
            steps.append(text)
        if rating == -1 and label is None:
            label = index
    reason = row["label"].get("finish_reason")
    if label is None and reason == "solution":
        label = -1
    if reason == "bad_problem":
        label = None
    answer = question.get("pre_generated_answer")
    if answer is None and steps and _PRM800K_ANSWER in steps[-1]:
        answer = steps[-1].rpartition(_PRM800K_ANSWER)[2]
    return {
        "problem": question.get("problem"),
        "steps": steps,
        "label": label,
        "generator": row.get("labeler") and "PRM800K",
        _PRM800K_ANSWER: answer,
    }


def _chosen(step: Mapping[str, Any]) -> tuple[str, int | None] | None:
    """(text, rating) of the step that a trajectory goes on with."""
    completions, chosen = step.get("completions") or [], step.get("chosen_completion")
    human = step.get("human_completion")
    if chosen is None and human:
        return (human["text"] if isinstance(human, Mapping) else str(human)), 1
    if not completions:
        return None
    taken = completions[chosen or 0]
    return str(taken["text"]), taken.get("rating")
