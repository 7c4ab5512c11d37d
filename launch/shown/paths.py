"""Paths in a terminal: one whole, or many in short.

Invariant: texts of models are printed as they are, without markup. Their control characters don't
reach the terminal.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.rule import Rule
from rich.table import Table
from rich.text import Text

from launch.shown.text import plain

_MOST = 2_000
"""Most characters of a text in the short form."""


def whole(page: Mapping[str, Any], meaning: str = "") -> RenderableType:
    """Everything that is stored of a path, from top to bottom."""
    return Group(*_parts(page, meaning, short=False))


def short(page: Mapping[str, Any], meaning: str = "") -> RenderableType:
    """The fate of a path, its problem, and its steps with their labels."""
    return Group(*_parts(page, meaning, short=True), Text())


def _parts(page: Mapping[str, Any], meaning: str, short: bool) -> Iterator[RenderableType]:
    yield plain(page["said"], style="bold")
    if meaning:
        yield plain(meaning, style="dim")
    if problem := page["problem"]:
        yield _text(problem["problem"], short)
        yield plain(f"answer {problem['answer']}", style="dim")
    if page["path"]:
        yield from _steps(page, short)
    if agreement := page["agreement"]:
        label = _named(agreement["label_first_error"])
        judge = _named(agreement["judge_first_error"])
        rule = f"{agreement['rule']}: {'kept' if agreement['kept'] else agreement['reason']}"
        yield plain(f"first error by labels {label}, by the judge {judge}; {rule}")
    for mark in page.get("marks", ()):
        verdict = "right" if mark["right"] else "wrong"
        note = f": {mark['note']}" if mark["note"] else ""
        first = _named(mark["first_error"])
        yield plain(f"{mark['person']} calls it {verdict}, first error {first}{note}")
    if not short:
        yield from _written(page)


def _steps(page: Mapping[str, Any], short: bool) -> Iterator[RenderableType]:
    path, labels = page["path"], page["labels"]
    right = "right" if path["correct"] else "wrong"
    yield plain(f"{len(path['steps'])} steps, answer {path['answer']} ({right})")
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(justify="right")
    table.add_column()
    table.add_column(overflow="fold")
    for step, text in enumerate(path["steps"]):
        label = labels["labels"][step] if labels and step < len(labels["labels"]) else None
        body = _text(text, short)
        if step < len(page["reasons"]):
            body.append_text(plain(f"\n{page['reasons'][step]}", style="dim"))
        for note in page["notes"][step] if step < len(page["notes"]) else ():
            body.append_text(plain(f"\n{note}", style="dim"))
        table.add_row(str(step + 1), _labelled(label), body)
    yield Padding(table, (0, 0, 0, 2))


def _written(page: Mapping[str, Any]) -> Iterator[RenderableType]:
    for row in page["rationales"]:
        dropped = f", dropped: {row['dropped']}" if row["dropped"] else ""
        yield Rule(plain(f"rationale, try {row['attempt'] + 1}{dropped}"), align="left")
        counted = f"seed {row['seed']}, {row['tokens']:,} tokens, votes {row['votes']}"
        yield plain(counted, style="dim")
        yield _text(row["text"], False)
        for run in row["executions"]:
            yield plain(f"step {run['step'] + 1}: code {run['verdict']}, {run['wall_s']:.2f} s")
    for row in page["judgements"]:
        about = f"{row['prompt']}, sees {row['sees']}, {row['round']} {row['number'] + 1}"
        yield Rule(plain(f"judge: {about}"), align="left")
        yield _text(row["text"], False)
    for row in page["repairs"]:
        worth = f"{row['c']} of {row['n']} continuations right"
        yield Rule(plain(f"repair of step {row['step'] + 1}: {worth}"), align="left")
        yield _text(row["replacement"], False)
    if page["example"]:
        yield Rule("training conversation", align="left")
        for turn in page["example"]["conversations"]:
            yield plain(f"{turn['role']}:", style="bold")
            yield _text(turn["content"], False)


def _labelled(label: bool | None) -> Text:
    if label is None:
        return plain("")
    return plain("right", "green") if label else plain("wrong", "red")


def _named(index: int | None) -> str:
    return "none" if index is None or index < 0 else f"step {index + 1}"


def _text(text: str, short: bool) -> Text:
    cut = len(text) > _MOST and short
    return plain(text[:_MOST] + " …" if cut else text)
