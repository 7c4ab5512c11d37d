"""The prompts of stages `judge` and `repair`: pure functions that make a chat.

    critique     every paragraph analysed and judged with a boxed Yes or No, then an index
    resolve      the same after a solution of the judge's own
    align        every paragraph aligned with the reference solution, as JSON
    meta, merge  a critique of a finished verification, and the verification written again
    reasons      a score of whether a verification's reasons are real
    repair       one step to replace the first wrong one

Invariant: a prompt shows only its `Sight` of the problem's answer. An empty sight adds no
character. No function here takes a label.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from actors.engines.contract import Chat
from workflows.formats import prompts
from workflows.formats.templates import AS_THEY_ARE, Prompt, Texts

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

REASONS_SYSTEM = "You are a math teacher. Your task is to check how colleagues marked solutions."
REASONS_RULES = """

Your task is to check this verification, not the solution. For each error that it reports, say \
whether the error really is in the solution, and whether the reasons that are given for it are \
true. End with a score within \\boxed{}: 1 if every reported error is there and its reasons are \
true, 0.5 if every reported error is there and some of the reasons are not true, 0 if a reported \
error is not there."""

MY_SOLUTION = "### My Solution\n\n"
CRITIQUE_HEADING = "### Critique\n\n"
FINAL = prompts.FINAL
JUDGED_RIGHT = f"{prompts.OUTPUT_OPEN}\n**Judgement**: $\\boxed{{Yes}}$\n{prompts.OUTPUT_CLOSE}"
JUDGED_WRONG = f"{prompts.OUTPUT_OPEN}\n**Judgement**: $\\boxed{{No}}$\n{prompts.OUTPUT_CLOSE}"
OPENED = prompts.paragraph_heading(1) + prompts.ANALYZE_OPEN + "\n"


@dataclass(frozen=True, slots=True)
class Sight:
    """What the judge may see of the truth; both None: nothing."""

    answer: str | None = None
    reference_solution: str | None = None


NOTHING = Sight()

SEEN = (
    "{% if reference_solution is not none %}" + SOLUTION_SEEN + "{{ reference_solution }}"
    "{% elif answer is not none %}" + ANSWER_SEEN + "{{ answer }}{% endif %}"
)
"""The part of a template that shows the sight, between problem and solution."""
_HEAD = prompts.RATIONALE_TASK + prompts.PROBLEM + SEEN + prompts.RATIONALE_SOLUTION + prompts.STEPS
_SOLUTION, _TRUTH = ("problem", "steps"), ("answer", "reference_solution")
JUDGE = Prompt("judge_system", "What the judge is told first.", SYSTEM)
CRITIQUE = Prompt(
    "critique", "Every paragraph analysed and judged.", _HEAD + CRITIQUE_RULES, _SOLUTION, _TRUTH
)
RESOLVE = Prompt(
    "resolve", "The same after a solution of the judge's own.", _HEAD + RESOLVE_RULES,
    _SOLUTION, _TRUTH,
)  # fmt: skip
ALIGN = Prompt(
    "align", "Every paragraph aligned with the reference solution.", _HEAD + ALIGN_RULES,
    (*_SOLUTION, "reference_solution"), ("answer",),
)  # fmt: skip
META = Prompt(
    "meta", "A critique of a finished verification.",
    _HEAD + VERIFICATION_SHOWN + "{{ verification }}" + META_RULES,
    (*_SOLUTION, "verification"), _TRUTH,
)  # fmt: skip
MERGE = Prompt(
    "merge", "The verification again, with its critique in hand.",
    _HEAD + VERIFICATION_SHOWN + "{{ verification }}" + CRITIQUE_SHOWN + "{{ critique }}"
    + MERGE_RULES,
    (*_SOLUTION, "verification", "critique"), _TRUTH,
)  # fmt: skip
REASONS_READER = Prompt(
    "reasons_system", "What the second model, which scores verifications, is told first.",
    REASONS_SYSTEM,
)  # fmt: skip
REASONS = Prompt(
    "reasons", "Whether the reasons of a verification are real, as a score.",
    prompts.RATIONALE_TASK + prompts.PROBLEM + prompts.RATIONALE_SOLUTION + prompts.STEPS
    + VERIFICATION_SHOWN + "{{ verification }}" + REASONS_RULES,
    (*_SOLUTION, "verification"),
)  # fmt: skip
REPAIR = Prompt(
    "repair", "The step that should stand for a wrong one; `steps` are those before it.",
    _HEAD + WRONG_SHOWN + "{% set number = steps|length + 1 %}"
    + "<paragraph_{{ number }}>\n{{ wrong }}\n</paragraph_{{ number }}>" + REPAIR_RULES,
    (*_SOLUTION, "wrong"), _TRUTH,
)  # fmt: skip


def _chat(
    prompt: Prompt,
    opened: str,
    texts: Texts,
    sight: Sight,
    problem: str,
    steps: Sequence[str],
    **more: str,
) -> Chat:
    user = prompt.of(
        texts,
        problem=problem,
        steps=steps,
        answer=sight.answer,
        reference_solution=sight.reference_solution,
        **more,
    )
    return Chat.of(JUDGE.of(texts), user, opened)  # fmt: skip


def critique_chat(
    problem: str, steps: Sequence[str], sight: Sight = NOTHING, texts: Texts = AS_THEY_ARE
) -> Chat:
    """Ask for a verification without code: each paragraph judged, then an index."""
    return _chat(CRITIQUE, OPENED, texts, sight, problem, steps)


def resolve_chat(
    problem: str, steps: Sequence[str], sight: Sight = NOTHING, texts: Texts = AS_THEY_ARE
) -> Chat:
    """Ask the judge to solve the problem itself, and to compare."""
    return _chat(RESOLVE, MY_SOLUTION, texts, sight, problem, steps)


def align_chat(
    problem: str, steps: Sequence[str], sight: Sight, texts: Texts = AS_THEY_ARE
) -> Chat:
    """Ask to align each paragraph with the reference solution. Raises ValueError without one."""
    if sight.reference_solution is None:
        raise ValueError("an alignment needs a reference solution")
    return _chat(ALIGN, "[\n", texts, sight, problem, steps)


def meta_chat(
    problem: str,
    steps: Sequence[str],
    verification: str,
    sight: Sight,
    texts: Texts = AS_THEY_ARE,
) -> Chat:
    """Ask for a critique of a finished verification."""
    return _chat(META, CRITIQUE_HEADING, texts, sight, problem, steps, verification=verification)


def merge_chat(
    problem: str,
    steps: Sequence[str],
    verification: str,
    critique: str,
    sight: Sight,
    texts: Texts = AS_THEY_ARE,
) -> Chat:
    """Ask to write a verification again, given its critique."""
    return _chat(
        MERGE, OPENED, texts, sight, problem, steps, verification=verification, critique=critique
    )


def reasons_chat(
    problem: str, steps: Sequence[str], verification: str, texts: Texts = AS_THEY_ARE
) -> Chat:
    """Ask a second model for a score of a verification's reasons."""
    user = REASONS.of(texts, problem=problem, steps=steps, verification=verification)
    return Chat.of(REASONS_READER.of(texts), user, "")


def repair_chat(
    problem: str, prefix: Sequence[str], wrong: str, sight: Sight, texts: Texts = AS_THEY_ARE
) -> Chat:
    """Ask for a step to replace the first wrong one, behind the right steps `prefix`."""
    return _chat(REPAIR, "", texts, sight, problem, prefix, wrong=wrong)


def fixed_texts() -> tuple[str, ...]:
    """The constant texts: a tokenizer of a toy model may have each as a single token."""
    return (
        ANSWER_SEEN, SOLUTION_SEEN, CRITIQUE_RULES, RESOLVE_RULES, ALIGN_RULES,
        VERIFICATION_SHOWN, META_RULES, CRITIQUE_SHOWN, MERGE_RULES, WRONG_SHOWN, REPAIR_RULES,
        MY_SOLUTION, CRITIQUE_HEADING, FINAL, JUDGED_RIGHT, JUDGED_WRONG,
    )  # fmt: skip


def fixed_reasons_texts() -> tuple[str, ...]:
    """The same of the prompt that asks for a verification's score."""
    return REASONS_SYSTEM, REASONS_RULES
