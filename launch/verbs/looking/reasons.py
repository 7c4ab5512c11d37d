"""Why items are dropped: docs/reasons.md, made of the enums beside the stages.

Invariant: the page is a pure function of the descriptions of stages and of those enums. A test
fails for a reason without a docstring.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import StrEnum
from functools import cache
from itertools import chain

from actors.engines.contract import Refusal
from launch.docstrings import member_docs
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
"""Stage, or `training` -> its own reasons for drops."""

PAGE = """\
# Why items are dropped

A stage that makes nothing of an item drops it with a reason, which `status`, the card and each
commit count. A sample that is no whole solution is kept, with what is wrong with it
(`Path.invalid_reason`). Written by `python -m launch.verbs.looking.reasons > docs/reasons.md`.
"""


def page() -> str:
    """The text of docs/reasons.md."""
    parts = {"any stage": tuple(Broken), **REASONS, "a sample": tuple(Flaw)}
    return PAGE + "".join(_section(name, given) for name, given in parts.items() if given)


@cache
def meanings() -> dict[str, str]:
    """Reason -> its meaning, for the drops of all stages and the flaws of samples."""
    of_all: Iterable[StrEnum] = chain(Broken, *REASONS.values(), Flaw)
    return {str(reason): member_docs(type(reason))[reason.value] for reason in of_all}


def _section(name: str, reasons: Iterable[StrEnum]) -> str:
    rows = "".join(
        f"| `{reason}` | {member_docs(type(reason))[reason.value]} |\n" for reason in reasons
    )
    return f"\n## {name}\n\n| reason | meaning |\n|---|---|\n{rows}"


if __name__ == "__main__":
    print(page(), end="")
