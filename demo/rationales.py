"""Verifications as the rationale writer is taught to write them, with code that was really run.

Invariant: a verification sees the problem and the steps, never the answer or a label; its verdicts
follow from what its code printed. ``verify`` returns None where that verdict is not the checker's
(2 * 2 for 2 + 2, say): such texts are not taught.
"""

import contextlib
import io
import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from demo import check
from demo.check import Equation
from demo.problem import COMMUTATIVE, PYTHON, Operand, Problem, Ref
from demo.solutions import CHECK_LEAD, REPAIR_LEAD
from workflows.formats import prompts

_NAMES = "abcdefgh"
_WHOLE = re.compile(r"\s*-?\d+\s*", re.ASCII)
LEAD_IN = "Recompute it in Python:"
RIGHT = "This paragraph is correct."
WRONG = "This paragraph is wrong."


@dataclass(frozen=True)
class Verification:
    """The reply after the prefill, up to the boxed index, and that index (1-based, or -1)."""

    reply: str
    index: int


@dataclass
class Progress:
    """What the verification has established so far."""

    defined: set[int] = field(default_factory=set)
    """Nodes whose variable the code has set."""
    seen: set[int] = field(default_factory=set)
    """Nodes that some paragraph was about."""
    latest: int = 0
    variables: dict[str, object] = field(default_factory=dict)
    """The one interpreter that all code of a solution shares."""


@dataclass(frozen=True)
class _Finding:
    """One paragraph's analysis and code; ``condemned`` if it needs no code to be wrong."""

    analysis: str
    code: str
    condemned: bool


def verify(problem: Problem, steps: Sequence[str]) -> Verification | None:
    """Verify a solution paragraph by paragraph; None if that misses the truth."""
    progress = Progress()
    parts: list[str] = []
    first_wrong: int | None = None
    for number, step in enumerate(steps, start=1):
        finding = _examine(problem, step, progress)
        printed = run(finding.code, progress.variables)
        wrong = finding.condemned or not printed.endswith("True")
        parts.append(_paragraph(number, finding, printed, wrong, first_wrong))
        if wrong and first_wrong is None:
            first_wrong = number
    truth = check.first_error(problem, steps)
    if (truth + 1 if truth is not None else None) != first_wrong:
        return None
    index = first_wrong or -1
    opened = prompts.THINK_OPEN + prompts.paragraph_heading(1) + prompts.ANALYZE_OPEN + "\n"
    whole = prompts.THINK_OPEN + "\n\n".join(parts)
    return Verification(whole[len(opened) :] + prompts.CONCLUSION + f"{index}" + "}", index)


def run(code: str, variables: dict[str, object]) -> str:
    """Execute our own generated code; what it printed, without the last newline, or its error."""
    printed = io.StringIO()
    try:
        with contextlib.redirect_stdout(printed):
            exec(code, variables)
    except ArithmeticError as error:
        return prompts.code_error(type(error).__name__, str(error))
    return printed.getvalue().rstrip("\n")


def _paragraph(
    number: int, finding: _Finding, printed: str, wrong: bool, first_wrong: int | None
) -> str:
    if not wrong:
        verdict = f"The code agrees. {RIGHT}"
    else:
        reason = "The code does not agree." if printed.endswith("False") else "It must not do that."
        later = f"It follows the error in paragraph {first_wrong}."
        verdict = f"{reason} {WRONG if first_wrong is None else later}"
    return (
        f"{prompts.paragraph_heading(number)}{prompts.ANALYZE_OPEN}\n{finding.analysis}\n"
        f"{prompts.ANALYZE_CLOSE}\n{prompts.VERIFY_OPEN}\n{LEAD_IN}\n"
        f"{prompts.CODE_OPEN}{finding.code}{prompts.CODE_CLOSE}"
        f"{prompts.code_output(printed)}{verdict}\n{prompts.VERIFY_CLOSE}"
    )


def _examine(problem: Problem, step: str, progress: Progress) -> _Finding:
    claims = check.equations(step)
    answer = check.boxed(step)
    if answer is not None and not claims:
        return _examine_answer(problem, step, progress)
    if not claims:
        return _Finding("It claims nothing that can be checked.", "print(False)", True)
    claim = claims[0]
    if step.startswith(CHECK_LEAD):
        code = f"print({_python(claim)} == {claim.result})"
        return _Finding(f"It checks a result: {_words(claim)}.", code, False)
    index = subject(problem, step, claim, progress)
    if index is None:
        code = f"print({_python(claim)} == {claim.result})"
        return _Finding(f"It takes {_words(claim)}, which is not needed.", code, True)
    node = problem.nodes[index]
    left, right = problem.value(node.left), problem.value(node.right)
    taken = (claim.left, claim.op, claim.right)
    right_way = {(left, node.op, right)}
    if node.op in COMMUTATIVE:
        right_way.add((right, node.op, left))
    analysis = f"It should take {left} {node.op} {right}"
    analysis += ", and it does." if taken in right_way else f", but it takes {_words(claim)}."
    progress.seen.add(index)
    progress.latest = index
    lines = _definitions(problem, index, progress, again=True)
    name = _NAMES[index]
    code = "\n".join((*lines, f"print({name}, {name} == {claim.result})"))
    return _Finding(analysis, code, False)


def _examine_answer(problem: Problem, step: str, progress: Progress) -> _Finding:
    text = step[step.rfind("{") + 1 : step.rfind("}")].strip()
    lines = [
        line for node in problem.answer_nodes for line in _definitions(problem, node, progress)
    ]
    names = [_NAMES[node] for node in problem.answer_nodes]
    claimed = text.split("/")
    if len(claimed) != len(names) or not all(map(_WHOLE.fullmatch, claimed)):
        return _Finding(f"It gives {text} as the answer.", "print(False)", True)
    tests = " and ".join(
        f"{name} == {int(number)}" for name, number in zip(names, claimed, strict=True)
    )
    code = "\n".join((*lines, f"print({', '.join(names)}, {tests})"))
    return _Finding(f"It gives {text} as the answer.", code, False)


def subject(problem: Problem, step: str, claim: Equation, progress: Progress) -> int | None:
    """The operation of the plan that a paragraph is about: the one it performs, else the next."""
    match = check.matching_node(problem, claim, progress.seen)
    if match is not None and match not in progress.seen:
        return match
    if step.startswith(REPAIR_LEAD):
        return progress.latest
    waiting = [index for index in range(len(problem.nodes)) if index not in progress.seen]
    lead = step.split(str(claim.left))[0]
    named = [index for index in waiting if lead and problem.nodes[index].lead == lead]
    return next(iter(named or waiting), None)


def _definitions(
    problem: Problem, index: int, progress: Progress, again: bool = False
) -> list[str]:
    """The lines that set a node's variable, and before it any that it needs."""
    if index in progress.defined and not again:
        return []
    node = problem.nodes[index]
    lines: list[str] = []
    for operand in (node.left, node.right):
        if isinstance(operand, Ref):
            lines += _definitions(problem, operand.node, progress)
    progress.defined.add(index)
    op = PYTHON.get(node.op, node.op)
    return [*lines, f"{_NAMES[index]} = {_name(node.left)} {op} {_name(node.right)}"]


def _name(operand: Operand) -> str:
    return _NAMES[operand.node] if isinstance(operand, Ref) else str(operand)


def _words(claim: Equation) -> str:
    return f"{claim.left} {claim.op} {claim.right}"


def _python(claim: Equation) -> str:
    return f"{claim.left} {PYTHON.get(claim.op, claim.op)} {claim.right}"
