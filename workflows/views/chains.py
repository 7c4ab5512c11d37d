"""Verifications as their model wrote them, thoughts included (ThinkPRM).

    verifications   A prefix of a kept solution, and the text that verifies it, whole.

Invariant: depends only on a shard's rows. A thought stands before its text, between the tags that
reasoning models write, and no label is read from it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from actors.engines.contract import Chat
from storage.datasets.view import View
from storage.rows.kinds import AGREEMENTS, JUDGEMENTS, PATHS, PROBLEMS
from storage.rows.records import Agreement, Judgement, Message, Path, Problem
from workflows.formats import judge_prompts, prompts
from workflows.labels.rule import first_error

ASKED: Mapping[str, Callable[[str, Sequence[str]], Chat]] = {
    "critique": judge_prompts.critique_chat,
    "resolve": judge_prompts.resolve_chat,
}
"""The prompts that can be asked of a model without sight of the truth."""


@dataclass(frozen=True, slots=True)
class Chain:
    """A verification of a solution's first T steps."""

    prompt: list[Message]
    """What a verifier is asked: problem and steps, nothing of the truth."""
    completion: list[Message]
    """The whole text, behind the whole thought."""
    labels: list[bool]
    """Labels of the T steps; fewer where the export ends with the first error."""
    first_error: int | None
    steps: int
    """T."""
    of_steps: int
    """Steps of the whole solution."""
    problem_id: str
    path_id: str


def chains(
    problems: Sequence[Problem],
    paths: Sequence[Path],
    judgements: Sequence[Judgement],
    agreements: Sequence[Agreement],
) -> list[Chain]:
    """A row per kept verification, in the order of the paths, that of the longest prefix first."""
    texts = {row.problem_id: row.problem for row in problems}
    by_id = {row.path_id: row for row in paths}
    said: dict[str, list[Judgement]] = defaultdict(list)
    for row in judgements:
        said[row.path_id].append(row)
    return [
        _chain(texts[kept.problem_id], by_id[kept.path_id], kept, verification)
        for kept in agreements
        if kept.kept and kept.chosen is not None
        for at in (kept.chosen, *(kept.also or ()))
        if (verification := said[kept.path_id][at]).prompt in ASKED
    ]


def _chain(problem: str, path: Path, kept: Agreement, said: Judgement) -> Chain:
    steps = said.steps or len(path.steps)
    labels = kept.labels[:steps]
    thought = f"{prompts.THINK_OPEN}{said.thought}\n{prompts.THINK_CLOSE}\n\n"
    return Chain(
        prompt=list(ASKED[said.prompt](problem, path.steps[:steps]).messages),
        completion=[Message("assistant", (thought if said.thought else "") + said.text)],
        labels=labels,
        first_error=first_error(labels),
        steps=steps,
        of_steps=len(path.steps),
        problem_id=path.problem_id,
        path_id=path.path_id,
    )


VERIFICATIONS = View(
    name="verifications",
    title="Verifications of kept solutions and of prefixes of them, each whole, with the thoughts "
    "that its model wrote before it.",
    row_type=Chain,
    rows=chains,
    reads=(PROBLEMS.stage, PATHS.stage, JUDGEMENTS.stage, AGREEMENTS.stage),
    trl="""\
from trl import SFTConfig, SFTTrainer
rows = dataset.select_columns(["prompt", "completion"])
SFTTrainer("BASE", args=SFTConfig("OUT"), train_dataset=rows).train()
""",
)
