"""What a judge is asked beside the paper's own prompt, as text: pure functions to a chat.

    critique     every paragraph analysed and judged with a boxed Yes or No, then an index
    resolve      the same after a solution of the judge's own: another prompt, other mistakes
    align        every paragraph aligned with the reference solution, as JSON
    meta, merge  a critique of a finished verification, and the verification written again
    repair       one step that should stand where the first wrong one stands

Invariant: what a prompt shows of the problem's answer is its `Sight` and nothing else; a sight of
nothing adds not a character. Labels are known to no function here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from actors.engines.contract import Chat
from workflows.formats import prompts

SYSTEM = prompts.CRITIC_SYSTEM
ANSWER_SEEN = "\n\n[Reference Answer]\n\n"
SOLUTION_SEEN = "\n\n[Reference Solution]\n\n"

CRITIQUE_RULES = """
Your task is to verify the solution paragraph by paragraph, without code. Open the verification \
of each paragraph with `### Paragraph {ID}` and give it exactly two parts:

1. `<analyze>` ... `</analyze>`: explain in detail why the paragraph is correct or incorrect.
2. `<output>` ... `</output>`: your judgement, \\boxed{Yes} if the paragraph is correct, or \
\\boxed{No} if it is incorrect.

When all paragraphs are verified, give the index of the paragraph with the earliest error, or -1 \
if there is none, within \\boxed{} under `### Final Conclusion`."""
RESOLVE_RULES = """
First solve the problem yourself under `### My Solution`, without looking at the solution above. \
Then compare. Open the verification of each paragraph with `### Paragraph {ID}` and give it \
exactly two parts:

1. `<analyze>` ... `</analyze>`: say whether the paragraph agrees with what you found.
2. `<output>` ... `</output>`: your judgement, \\boxed{Yes} if the paragraph is correct, or \
\\boxed{No} if it is incorrect.

When all paragraphs are verified, give the index of the paragraph with the earliest error, or -1 \
if there is none, within \\boxed{} under `### Final Conclusion`."""
ALIGN_RULES = """
Your task is to align the paragraphs with the steps of the reference solution. Answer with a JSON \
list that has one object for each paragraph, in order, with the keys "paragraph" (its index), \
"reference" (the list of the indices of the reference steps it corresponds to, counted from 1), \
"explanation" and "label" ("CORRECT" or "INCORRECT"). Write nothing else."""
VERIFICATION_SHOWN = "\n[Verification]\n\n"
META_RULES = """

Your task is to critique this verification, not the solution: for each paragraph say whether the \
judgement that was given is right, and what it should be where it is not."""
CRITIQUE_SHOWN = "\n\n[Critique]\n\n"
MERGE_RULES = """

Your task is to write the verification again, corrected where the critique is right. Keep its \
form exactly."""
WRONG_SHOWN = "\n[Wrong Paragraph]\n\n"
REPAIR_RULES = """

The last paragraph is wrong. Write the one paragraph that should stand in its place, and stop: \
neither repeat what stands before it nor go on with the solution."""

MY_SOLUTION = "### My Solution\n\n"
CRITIQUE_HEADING = "### Critique\n\n"
FINAL = prompts.FINAL
JUDGED_RIGHT = f"{prompts.OUTPUT_OPEN}\n**Judgement**: $\\boxed{{Yes}}$\n{prompts.OUTPUT_CLOSE}"
JUDGED_WRONG = f"{prompts.OUTPUT_OPEN}\n**Judgement**: $\\boxed{{No}}$\n{prompts.OUTPUT_CLOSE}"
OPENED = prompts.paragraph_heading(1) + prompts.ANALYZE_OPEN + "\n"


@dataclass(frozen=True, slots=True)
class Sight:
    """What the judge sees of the truth; both None: nothing."""

    answer: str | None = None
    reference_solution: str | None = None

    def shown(self) -> str:
        """The section that stands between problem and solution."""
        if self.reference_solution is not None:
            return SOLUTION_SEEN + self.reference_solution
        return "" if self.answer is None else ANSWER_SEEN + self.answer


NOTHING = Sight()


def _asked(problem: str, steps: Sequence[str], sight: Sight, rules: str) -> str:
    shown = "".join(prompts.paragraph(number, step) for number, step in enumerate(steps, start=1))
    seen = sight.shown()
    return prompts.RATIONALE_TASK + problem + seen + prompts.RATIONALE_SOLUTION + shown + rules


def critique_chat(problem: str, steps: Sequence[str], sight: Sight = NOTHING) -> Chat:
    """A verification without code: each paragraph judged, then an index."""
    return Chat.of(SYSTEM, _asked(problem, steps, sight, CRITIQUE_RULES), OPENED)


def resolve_chat(problem: str, steps: Sequence[str], sight: Sight = NOTHING) -> Chat:
    """The judge solves the problem itself and compares."""
    return Chat.of(SYSTEM, _asked(problem, steps, sight, RESOLVE_RULES), MY_SOLUTION)


def align_chat(problem: str, steps: Sequence[str], sight: Sight) -> Chat:
    """Each paragraph aligned with the reference solution. ValueError without one."""
    if sight.reference_solution is None:
        raise ValueError("an alignment needs a reference solution")
    return Chat.of(SYSTEM, _asked(problem, steps, sight, ALIGN_RULES), "[\n")


def meta_chat(problem: str, steps: Sequence[str], verification: str, sight: Sight) -> Chat:
    """A critique of a finished verification."""
    asked = _asked(problem, steps, sight, VERIFICATION_SHOWN + verification + META_RULES)
    return Chat.of(SYSTEM, asked, CRITIQUE_HEADING)


def merge_chat(
    problem: str, steps: Sequence[str], verification: str, critique: str, sight: Sight
) -> Chat:
    """The verification again, with its critique in hand."""
    shown = VERIFICATION_SHOWN + verification + CRITIQUE_SHOWN + critique + MERGE_RULES
    return Chat.of(SYSTEM, _asked(problem, steps, sight, shown), OPENED)


def repair_chat(problem: str, prefix: Sequence[str], wrong: str, sight: Sight) -> Chat:
    """What should stand in the place of the first wrong step, after the right `prefix`."""
    number = len(prefix) + 1
    asked = _asked(problem, prefix, sight, WRONG_SHOWN + prompts.paragraph(number, wrong))
    return Chat.of(SYSTEM, asked.rstrip("\n") + REPAIR_RULES, "")


def fixed_texts() -> tuple[str, ...]:
    """Texts that never change: a model of a small world may have them as single tokens."""
    return (
        ANSWER_SEEN, SOLUTION_SEEN, CRITIQUE_RULES, RESOLVE_RULES, ALIGN_RULES,
        VERIFICATION_SHOWN, META_RULES, CRITIQUE_SHOWN, MERGE_RULES, WRONG_SHOWN, REPAIR_RULES,
        MY_SOLUTION, CRITIQUE_HEADING, FINAL, JUDGED_RIGHT, JUDGED_WRONG,
    )  # fmt: skip
