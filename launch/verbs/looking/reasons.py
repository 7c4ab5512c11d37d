"""Why items are dropped: docs/reasons.md, made of the enums beside the stages.

Invariant: the page is a pure function of the descriptions of stages and of those enums, so that a
reason without a sentence is a failing test and not a gap in the page.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import StrEnum
from functools import cache

from actors.engines.contract import Refusal
from launch.reference import member_docs
from storage.errors import Broken
from storage.rows.kinds import PROBLEMS
from workflows.formats.steps import Flaw
from workflows.inputs.problems import LeftOut
from workflows.stages import OF_RUNS
from workflows.training.mask import Unlearnt

REASONS: Mapping[str, tuple[StrEnum, ...]] = {
    PROBLEMS.stage: tuple(LeftOut),
    **{stage.name: stage.drops for stage in OF_RUNS.values()},
    "training": (*Unlearnt, Refusal.CONTROL_TOKEN),
}
"""Stage, or what else drops items -> its own reasons."""

PAGE = """\
# Why items are dropped

A stage that makes nothing of an item drops it with a reason, which `status`, the card and each
commit count. A sample that is no whole solution is kept, with what is wrong with it
(`Path.invalid_reason`). Written by `python -m launch.verbs.looking.reasons > docs/reasons.md`.
"""


def page() -> str:
    """docs/reasons.md."""
    parts = {"any stage": tuple(Broken), **REASONS, "a sample": tuple(Flaw)}
    return PAGE + "".join(_section(name, given) for name, given in parts.items())


@cache
def meanings() -> dict[str, str]:
    """Reason -> what it means, of every stage's and of a sample that is no whole solution."""
    of_all = (*Broken, *(one for given in REASONS.values() for one in given), *Flaw)
    return {str(one): member_docs(type(one))[one.value] for one in of_all}


def _section(name: str, reasons: Iterable[StrEnum]) -> str:
    rows = "".join(f"| `{one}` | {member_docs(type(one))[one.value]} |\n" for one in reasons)
    return f"\n## {name}\n\n| reason | meaning |\n|---|---|\n{rows}"


if __name__ == "__main__":
    print(page(), end="")
