"""What the judge is taught to write: critiques, own solutions, alignments, revisions, repairs.

And what its verifier is taught: whether the reasons of a critique are real (`reasons`).

Invariant: a judgement follows from problem and steps alone and its verdicts are the checker's up
to the first error; ``judge`` returns None where they would not be (2 * 2 for 2 + 2, say). What a
judge may see of the truth changes the prompt, never the text that is taught.
"""

import json
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from demo import check, rationales
from demo.problem import COMMUTATIVE, OPERATIONS, Problem, answer_step, equation
from demo.solutions import CHECK_LEAD
from workflows.formats import judge_prompts as asked
from workflows.formats import prompts
from workflows.judging.seats import read_paragraphs


@dataclass(frozen=True)
class Finding:
    """What is found of one paragraph."""

    words: str
    """What it does, and what it should do."""
    truth: str | None
    """The equation or answer that should stand there; None where nothing should."""
    wrong: bool
    reference: tuple[int, ...] = ()
    """Steps of the reference solution it corresponds to, from 1."""
    says: str = ""
    """The number that the paragraph gives."""

    def sentence(self, truth: str | None = None) -> str:
        """The analysis; another `truth` may be put in, as a judge who miscalculates would."""
        found = truth or self.truth
        if found is None:
            return self.words
        agrees = found.rpartition(" ")[2] == self.says
        return f"{self.words} {found}, {'and' if agrees else 'but'} it says {self.says}."


@dataclass(frozen=True)
class Judgement:
    """Findings of all paragraphs; `first_wrong` is 1-based, or -1."""

    findings: tuple[Finding, ...]
    first_wrong: int


def judge(problem: Problem, steps: Sequence[str]) -> Judgement | None:
    """Judge every paragraph as the checker would; None if that misses its first error."""
    progress = rationales.Progress()
    findings = tuple(_find(problem, step, progress) for step in steps)
    wrong = [number for number, finding in enumerate(findings, start=1) if finding.wrong]
    truth = check.first_error(problem, steps)
    if (wrong[0] if wrong else None) != (None if truth is None else truth + 1):
        return None
    return Judgement(findings, wrong[0] if wrong else -1)


def _find(problem: Problem, step: str, progress: rationales.Progress) -> Finding:
    claims = check.equations(step)
    if not claims and check.boxed(step) is not None:
        given = step[step.rfind("{") + 1 : step.rfind("}")].strip()
        last = len(problem.nodes) + 1
        wrong = check.boxed(step) != check.boxed(answer_step(problem.answer))
        return Finding("It gives the answer.", f"It is {problem.answer}", wrong, (last,), given)
    if not claims:
        return Finding("It claims nothing that can be checked.", None, True)
    claim = claims[0]
    taken = f"{claim.left} {claim.op} {claim.right}"
    if step.startswith(CHECK_LEAD):
        found = OPERATIONS[claim.op](claim.left, claim.right)
        wrong = found != claim.result
        return Finding("It checks a result.", f"{taken} = {found}", wrong, (), f"{claim.result}")
    index = rationales.subject(problem, step, claim, progress)
    if index is None:
        return Finding(f"It takes {taken}, which is not needed.", None, True)
    progress.seen.add(index)
    progress.latest = index
    node, value = problem.nodes[index], problem.values[index]
    left, right = problem.value(node.left), problem.value(node.right)
    ways = {(left, node.op, right)}
    if node.op in COMMUTATIVE:
        ways.add((right, node.op, left))
    does = (claim.left, claim.op, claim.right) in ways
    words = f"It should take {left} {node.op} {right}"
    words += ", and it does." if does else f", but it takes {taken}."
    truth = f"{left} {node.op} {right} = {value}"
    return Finding(words, truth, value != claim.result, (index + 1,), f"{claim.result}")


def critique(judgement: Judgement, misread: Sequence[str | None] = ()) -> str:
    """The verification that stands after ``judge_prompts.OPENED``.

    ``misread`` gives another truth for some paragraphs, as a judge who errs would have it; the
    verdicts follow what is written.
    """
    wrongs = _verdicts(judgement, misread)
    parts = []
    for number, finding in enumerate(judgement.findings, start=1):
        other = misread[number - 1] if misread else None
        parts.append(_paragraph(number, finding.sentence(other), wrongs[number - 1]))
    return "\n\n".join(parts)[len(asked.OPENED) :] + _final(wrongs)


def _verdicts(judgement: Judgement, misread: Sequence[str | None]) -> list[bool]:
    """Whether each paragraph is called wrong."""
    return [
        finding.wrong if not misread or misread[place] is None
        else str(misread[place]).rpartition(" ")[2] != finding.says
        for place, finding in enumerate(judgement.findings)
    ]  # fmt: skip


def _paragraph(number: int, analysis: str, wrong: bool) -> str:
    return (
        f"{prompts.paragraph_heading(number)}{prompts.ANALYZE_OPEN}\n{analysis}\n"
        f"{prompts.ANALYZE_CLOSE}\n{asked.JUDGED_WRONG if wrong else asked.JUDGED_RIGHT}"
    )


def _final(wrongs: Sequence[bool]) -> str:
    index = wrongs.index(True) + 1 if True in wrongs else -1
    return f"\n\n{asked.FINAL}{index}}}"


def resolve(problem: Problem, judgement: Judgement) -> str:
    """A solution of its own, then the comparison; stands after ``judge_prompts.MY_SOLUTION``."""
    own = "\n".join(
        equation("", problem.value(node.left), node.op, problem.value(node.right), value)
        for node, value in zip(problem.nodes, problem.values, strict=True)
    )
    parts = []
    for number, finding in enumerate(judgement.findings, start=1):
        found = finding.words if finding.truth is None else finding.sentence()
        if finding.reference and finding.truth:
            agrees = "and" if not finding.wrong else "but"
            found = f"I found: {finding.truth}, {agrees} it says {finding.says}."
        parts.append(_paragraph(number, found, finding.wrong))
    wrongs = [finding.wrong for finding in judgement.findings]
    return f"{own}\n\n" + "\n\n".join(parts) + _final(wrongs)


def align(judgement: Judgement) -> str:
    """The JSON that stands after its opening bracket."""
    rows = [
        json.dumps(
            {
                "paragraph": number,
                "reference": list(finding.reference),
                "explanation": finding.sentence(),
                "label": "INCORRECT" if finding.wrong else "CORRECT",
            }
        )
        for number, finding in enumerate(judgement.findings, start=1)
    ]
    return ",\n".join(rows) + "\n]"


def misreadings(judgement: Judgement, rng: random.Random) -> list[str | None]:
    """Truths as a judge would have them who errs in some paragraphs."""

    def misread(finding: Finding, value: str) -> str:
        off = str(int(value) + rng.choice((1, -1, 10))) if value.isdecimal() else value
        return finding.says if finding.wrong else off

    return _other_truths(judgement, rng, 0.25, misread)


def doubts(judgement: Judgement, rng: random.Random) -> list[str | None]:
    """Other truths for some paragraphs, for verifications whose reasons are not all real.

    A right paragraph is then called wrong; a wrong one is called right, or wrong for a reason that
    is not true.
    """

    def doubted(finding: Finding, value: str) -> str:
        near = {str(int(value) + by) for by in (1, -1, 10, -10)} if value.isdecimal() else set()
        return rng.choice([*sorted(near - {finding.says, value}), finding.says])

    return _other_truths(judgement, rng, 0.3, doubted)


def _other_truths(
    judgement: Judgement, rng: random.Random, share: float, number: Callable[[Finding, str], str]
) -> list[str | None]:
    """The truths of a share of the paragraphs with another `number`; None for the others."""
    others: list[str | None] = []
    for finding in judgement.findings:
        found: str | None = None
        if finding.truth is not None and rng.random() < share:
            head, _, value = finding.truth.rpartition(" ")
            found = f"{head} {number(finding, value)}"
        others.append(found)
    return others


def meta(judgement: Judgement, misread: Sequence[str | None]) -> str:
    """The critique of a verification; stands after ``judge_prompts.CRITIQUE_HEADING``."""
    called = _verdicts(judgement, misread)
    lines = []
    for number, finding in enumerate(judgement.findings, start=1):
        said = "No" if called[number - 1] else "Yes"
        due = "No" if finding.wrong else "Yes"
        verdict = "is right." if said == due else f"should be {due}."
        ground = f"{finding.truth}. " if finding.truth else ""
        lines.append(f"Paragraph {number}: {ground}The judgement {said} {verdict}")
    return "\n".join(lines)


def reasons(judgement: Judgement, verification: str) -> tuple[str, float] | None:
    """What a second model should write of a verification, and its score.

    None: no verdict is missing and none says wrong, or it can't be read.
    """
    read = read_paragraphs(verification, len(judgement.findings))
    if None in read.verdicts or all(read.verdicts):
        return None
    lines, score = [], 1.0
    for number, (finding, right, analysis) in enumerate(
        zip(judgement.findings, read.verdicts, read.analyses, strict=True), start=1
    ):
        if right:
            continue
        ground = f"{finding.truth}, {'but' if finding.wrong else 'and'} it says {finding.says}. "
        if not finding.wrong:
            found, worth = "The error is not there.", 0.0
        elif analysis.strip() == finding.sentence():
            found, worth = "The error is there, and the reason is true.", 1.0
        else:
            found, worth = "The error is there, but the reason is not.", 0.5
        score = min(score, worth)
        lines.append(f"Paragraph {number}: {ground if finding.truth else ''}{found}")
    return "\n".join((*lines, f"\\boxed{{{score:g}}}")), score


def repair(problem: Problem, judgement: Judgement) -> str | None:
    """The step that should stand in the place of the first wrong one; None where none should."""
    wrong = judgement.findings[judgement.first_wrong - 1]
    if not wrong.reference:
        return None
    index = wrong.reference[0] - 1
    return problem.reference_solution[index]
