r"""Whole replies in the manner of reasoning models, over three solutions of four to eight steps.

Each manner is what such a model does to the form that it was asked for. A reply that a careful
reader could follow is kept, with one executed block per step; of the others each has its reason.
No output that nobody printed is kept in any of them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import pytest

from actors.workers.contract import ShardResult
from storage.rows.records import Rationale, standing
from tests.support.fake_sandbox import FakeSandbox, rows
from tests.support.kits import kit_of
from tests.support.one_text import OneText
from tests.support.shown_outputs import INVENTED, printed, shown_invented, unlike_what_runs
from workflows.judging.seats import read_paragraphs
from workflows.settings import RationalizeSettings
from workflows.stages.rationalize import RATIONALIZE, RationaleWriter


@dataclass(frozen=True)
class Case:
    """A solution, the code that checks each step, and the first wrong step from 1 (or -1)."""

    problem: str
    steps: tuple[str, ...]
    code: tuple[str, ...]
    index: int


PENS = Case(
    "A pen costs 3 dollars and a notebook 5. What do 4 pens and 2 notebooks cost, with 10% off?",
    ("Four pens cost $4 \\cdot 3 = 12$.", "Two notebooks cost $2 \\cdot 5 = 10$.",
     "Together $12 + 10 = 22$.", "With 10% off that is $22 - 2 = 20$, so \\boxed{20}."),
    ("pens = 4 * 3\nprint(pens, pens == 12)", "books = 2 * 5\nprint(books, books == 10)",
     "total = pens + books\nprint(total, total == 22)",
     "final = total * 0.9\nprint(final, final == 20)"),
    4,
)  # fmt: skip
SUM = Case(
    "How many odd numbers from 1 to 99 are no multiple of 3?",
    ("There are 50 odd numbers.", "Multiples of 3 up to 99: 33.", "Of them 17 are odd.",
     "$50 - 17 = 33$.", "A check with 1 to 9: 1, 5, 7.", "So \\boxed{33}."),
    ("odd = list(range(1, 100, 2))\nprint(len(odd))",
     "threes = [n for n in range(1, 100) if n % 3 == 0]\nprint(len(threes))",
     "both = [n for n in threes if n % 2]\n\nprint(len(both))", "print(len(odd) - len(both))",
     "print([n for n in odd if n < 10 and n not in both])",
     "print(len([n for n in odd if n % 3]) == 33)"),
    -1,
)  # fmt: skip
ROOTS = Case(
    "For which real x is x^4 - 5x^2 + 4 = 0, and what is the sum of their squares?",
    ("Let $y = x^2$.", "Then $y^2 - 5y + 4 = 0$.", "$y = 1$ or $y = 4$.", "$y = 1$: $x = \\pm 1$.",
     "$y = 4$: $x = \\pm 2$.", "There are four roots.", "Squares: $1 + 1 + 4 + 4 = 10$.",
     "So \\boxed{10}."),
    ("def f(x):\n    return x**4 - 5 * x**2 + 4\n\n\nprint(f(0))",
     "def g(y):\n    return y * y - 5 * y + 4\n\nprint(g(0))", "print(g(1), g(4))",
     "print(f(1), f(-1))", "print(f(2), f(-2))",
     "roots = [x for x in range(-9, 10) if f(x) == 0]\nprint(roots)",
     "squares = sum(x * x for x in roots)\nprint(squares)", "print(squares == 10)"),
    -1,
)  # fmt: skip
CASES = {"pens": PENS, "sum": SUM, "roots": ROOTS}

Manner = Callable[[Case], str]
REAL = "[Code Output]\n\n```\n{}\n```\n"
MADE_UP = REAL.format(INVENTED)


def told(
    case: Case,
    *,
    heading: str = "### Paragraph {}",
    block: Callable[[int, str], str] = lambda step, code: f"```python\n{code}\n```\n",
    analysis: str = "Okay, so paragraph {} is about this. Let me see. Hmm, right.",
    end: str = "</verify>\n\n",
) -> str:
    """A reply without its first heading and opening, which are forced."""
    parts = []
    for step, code in enumerate(case.code):
        opened = "" if step == 0 else heading.format(step + 1) + "\n<analyze>\n"
        parts.append(
            f"{opened}{analysis.format(step + 1)}\n</analyze>\n<verify>\n"
            f"Let me check.\n{block(step, code)}\nThe [Code Output] says what it should.\n{end}"
        )
    return "".join(parts) + f"</think>\n\n**Final Answer**\n\n\\boxed{{{case.index}}}"


def once(step: int, of: str, otherwise: str) -> Callable[[int, str], str]:
    """A block that is spelt `of` in one step (from 0) and `otherwise` in all others."""
    return lambda at, code: (of if at == step else otherwise).replace("CODE", code)


PLAIN = "```python\nCODE\n```\n"


def quoted(code: str, mark: str) -> str:
    """Code with a mark before each line."""
    return "\n".join(mark + line for line in code.split("\n"))


def wait(case: Case) -> str:
    """The first paragraph verified once more after the last one."""
    again = (
        "Wait, let me look at paragraph 1 again.\n\n### Paragraph 1\n<analyze>\nIt is fine.\n"
        f"</analyze>\n<verify>\n```python\n{case.code[0]}\n```\nYes.\n</verify>\n"
    )
    return told(case).replace("</think>", again + "</think>")


KEPT: dict[str, Manner] = {
    "as asked": told,
    "bold headings": lambda case: told(case, heading="**Paragraph {}**"),
    "titles": lambda case: told(case, heading="### Paragraph {}: checking this step"),
    "numbered bold": lambda case: told(case, heading="- **Paragraph {}:**"),
    "braces copied": lambda case: told(case, heading=" ### Paragraph {{{}}}"),
    "py": lambda case: told(case, block=lambda _, code: f"```py\n{code}\n```\n"),
    "Python with blanks": lambda case: told(
        case, block=lambda _, code: f"``` Python \n{code}\n```\n"),
    "tildes": lambda case: told(case, block=lambda _, code: f"~~~python\n{code}\n~~~\n"),
    "indented": lambda case: told(
        case, block=lambda _, code: f"  ```python\n{quoted(code, '  ')}\n  ```\n"),
    "in a list": lambda case: told(
        case, block=lambda _, code: f"1. So:\n\n   ```python\n{quoted(code, '   ')}\n   ```\n"),
    "other line ends": lambda case: told(case).replace("\n", "\r\n"),
    "capitals in tags": lambda case: told(case).replace("analyze>", "Analyze>"),
    "verifications left open": lambda case: told(case, end="\n"),
    "a plan in bash first": lambda case: told(
        case, block=once(1, "```bash\npip install sympy\n```\n" + PLAIN, PLAIN)),
    "a formula in its own block": lambda case: told(
        case, block=once(2, PLAIN + "As a formula:\n```latex\nx = 1\n```\n", PLAIN)),
    "headings said twice": lambda case: "### Paragraph 1\n<analyze>\n" + told(case),
    "other thoughts aloud": lambda case: told(
        case, analysis="Paragraph {0} first. As **Paragraph {0}** says.\n\nStep 1: read.\n\nFine."),
}  # fmt: skip
"""Manner -> the reply; every step has its block run."""

AGAIN: dict[str, Manner] = {"opened again": wait}
"""Kept, with blocks run once more."""

MADE: dict[str, Manner] = {
    "closed with a blank": lambda case: told(
        case, block=once(0, "```python\nCODE\n``` \n" + MADE_UP, PLAIN)),
    "closed with a blank later": lambda case: told(
        case, block=once(2, "```python\nCODE\n```\t\n" + MADE_UP, PLAIN)),
    "py with an output": lambda case: told(
        case, block=once(1, "```py\nCODE\n```\n" + MADE_UP, PLAIN)),
    "tildes with an output": lambda case: told(
        case, block=once(1, "~~~python\nCODE\n~~~\n" + MADE_UP, PLAIN)),
    "an output in a line": lambda case: told(
        case, block=once(3, PLAIN + f"\n[Code Output]: {INVENTED}\n", PLAIN)),
    "an output behind each block": lambda case: told(
        case, block=lambda _, code: f"```python\n{code}\n```\n" + MADE_UP),
    "an output in bold": lambda case: told(
        case, block=once(0, PLAIN + f"**[Code Output]**\n```\n{INVENTED}\n```\n", PLAIN)),
    "bash with an output": lambda case: told(
        case, block=once(0, "```bash\npython -c 1\n```\n" + MADE_UP + PLAIN, PLAIN)),
    "a block called output": lambda case: told(
        case, block=once(1, PLAIN + f"```output\n{INVENTED}\n```\n", PLAIN)),
    "it would print": lambda case: told(
        case, block=once(1, PLAIN + f"This prints:\n```\n{INVENTED}\n```\n", PLAIN)),
    "closed on the code's line": lambda case: told(
        case, block=once(0, "```python\nCODE```\n" + MADE_UP, PLAIN)),
}  # fmt: skip
"""Replies with outputs that nobody printed."""

UNFOLLOWED = {"closed on the code's line"}
"""Those of them that are lost where a model does not write its block again."""

DROPPED: dict[str, tuple[Manner, str]] = {
    "two paragraphs in one": (
        lambda case: told(case).replace("### Paragraph 2", "### Paragraphs 2-3"),
        "paragraph_merged"),
    "a paragraph left out": (
        lambda case: told(case).replace("### Paragraph 2\n", "### Paragraph 3\n", 1),
        "paragraph_missing"),
    "no code": (lambda case: told(case, block=once(1, "Surely.\n", PLAIN)), "no_code"),
    "code in bash alone": (
        lambda case: told(case, block=once(1, "```bash\nls\n```\n", PLAIN)), "no_code"),
    "the last block never closed": (
        lambda case: told(case, block=once(len(case.code) - 1, "```python\nCODE\n", PLAIN)),
        "open_code_block"),
    "a step that uses what only comes later": (
        lambda case: told(
            replace(case, code=(*case.code[:-1], case.code[-1] + "\nlater = 1\nprint(later)"))
        ).replace("</think>", "### Paragraph 1\n<analyze>\nAgain.\n</analyze>\n<verify>\n"
                  "```python\nprint(later)\n```\n</verify>\n</think>"),
        "not_executed"),
}  # fmt: skip
"""What nobody can follow, or nobody can run, and its reason."""


async def made_of(case: Case, reply: str, reads: bool = True) -> ShardResult[Rationale]:
    """What the writer makes of a reply."""
    engine = OneText(reply, f"{case.index}}}", reads)
    asked = RationalizeSettings(max_tokens=4000, attempts=1)
    kit = kit_of(RATIONALIZE, engine, FakeSandbox(), rationalize=asked)
    return await RationaleWriter(kit).run(rows(*case.steps))


def outputs(case: Case) -> list[str]:
    """What the code of all steps prints."""
    names: dict[str, object] = {}
    return [printed(code, names).strip() for code in case.code]


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("manner", KEPT | AGAIN)
async def test_a_reply_that_can_be_followed_is_kept(manner: str, case: str) -> None:
    of = CASES[case]
    (row,) = (await made_of(of, (KEPT | AGAIN)[manner](of))).rows
    assert [run.step for run in row.executions] == list(range(len(of.steps)))
    assert [run.output for run in row.executions] == outputs(of)
    assert row.votes == [of.index - 1 if of.index > 0 else -1] * 4
    assert unlike_what_runs(row) == []


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("manner", MADE)
@pytest.mark.parametrize("reads", [True, False])
async def test_no_invented_output_survives(manner: str, case: str, reads: bool) -> None:
    of = CASES[case]
    result = await made_of(of, MADE[manner](of), reads)
    kept = standing(result.rows)
    assert len(kept) == 1 or not reads or manner in UNFOLLOWED
    for row in kept:
        assert shown_invented(row) == []
        assert unlike_what_runs(row) == []
        assert [run.output for run in row.executions] == outputs(of)
    for drop in result.drops:
        assert "the code block" in drop.detail or "output" in drop.detail


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("manner", DROPPED)
async def test_what_can_not_be_followed_is_a_drop_with_its_reason(manner: str, case: str) -> None:
    of = CASES[case]
    reply, reason = DROPPED[manner]
    result = await made_of(of, reply(of))
    (drop,) = result.drops
    assert drop.reason == reason
    assert drop.detail
    (row,) = result.rows
    assert row.dropped == f"{drop.reason}: {drop.detail}", "its text can be read back"
    assert row.text.startswith("<think>") and not standing(result.rows)


def judged(case: Case, heading: str, box: str, conclusion: str) -> str:
    """A judge's reply, its forced opening included."""
    parts = []
    for step in range(len(case.steps)):
        right = case.index < 0 or step + 1 < case.index
        parts.append(
            f"{heading.format(step + 1)}\n<analyze>\nOkay, so.\n</analyze>\n<output>\n"
            f"{box.format('Yes' if right else 'No')}\n</output>\n\n"
        )
    return "".join(parts) + conclusion.format(case.index)


JUDGES = {
    "as asked": ("### Paragraph {}", "\\boxed{{{}}}", "### Final Conclusion\n\\boxed{{{}}}"),
    "bold": ("**Paragraph {}**", "**Judgement**: $\\boxed{{{}}}$",
             "**Final Answer**\n\nANSWER: $\\boxed{{{}}}$"),
    "text commands": ("### Paragraph {}:", "\\boxed{{\\text{{{}}}}}",
                      "## Final Conclusion:\n\\boxed{{\\text{{{}}}}}"),
    "a sentence": ("### Paragraph {{{}}}", "So it is \\boxed{{{}.}}",
                   "### Conclusion\nThe first error: \\boxed{{index {}}}"),
}  # fmt: skip


ASKED = [(manner, case) for manner in JUDGES for case in CASES]


@pytest.mark.parametrize(("manner", "case"), ASKED)
@pytest.mark.parametrize("thought", ["", "draft"])
def test_a_judges_reply_is_read_behind_its_thought(manner: str, case: str, thought: str) -> None:
    of = CASES[case]
    reply = judged(of, *JUDGES[manner])
    if thought:
        reply = judged(replace(of, index=1), *JUDGES["as asked"]) + "Hmm.\n</think>\n\n" + reply
    found = read_paragraphs(reply, len(of.steps))
    right = [of.index < 0 or step + 1 < of.index for step in range(len(of.steps))]
    assert found.verdicts == right
    assert found.index == (of.index - 1 if of.index > 0 else -1)
