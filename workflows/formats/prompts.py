"""The prompts of policy, completion model and rationale writer: pure functions that make a chat.

Invariant: no function here takes an answer or a label, so that neither can enter a prompt. The
texts that a stage appends later (code output, final conclusion) are made here too. A model then
reads the same texts at work as in training.

The engine renders a ``Chat``: its chat template over the messages, with the generation prompt, and
then ``prefill`` as it is.
"""

import re
from collections.abc import Sequence

from actors.engines.contract import Chat
from workflows.formats import steps as solution_steps
from workflows.formats.reading import index_in, up_to_brace
from workflows.formats.templates import AS_THEY_ARE, Prompt, Texts

SOLVER_SYSTEM = "Please reason step by step, and put your final answer within \\boxed{}."
CRITIC_SYSTEM = (
    "You are a math teacher. Your task is to review and critique the paragraphs in solution "
    "step by step."
)
RATIONALE_SYSTEM = CRITIC_SYSTEM[:-1] + " with python code."
DIRECT_SYSTEM = (
    "You are a math teacher. Your task is to review and critique the paragraphs in solution "
    "directly. Output your judgement in the format of `\\boxed{Yes}` if the paragraph is correct, "
    "or `\\boxed{No}` if the paragraph is incorrect."
)

RATIONALE_TASK = """\
Below are a math problem and a solution to it. The solution is split into paragraphs, each \
enclosed with tags and indexed from 1.

[Math Problem]

"""
RATIONALE_SOLUTION = "\n\n[Solution]\n\n"
RATIONALE_RULES = """
Your task is to verify the solution paragraph by paragraph. Open the verification of each \
paragraph with `### Paragraph {ID}` and give it exactly two parts:

1. `<analyze>` ... `</analyze>`: explain in detail why the paragraph is correct or incorrect.
2. `<verify>` ... `</verify>`: write Python code in a block that opens with ```python and verify \
every detail that code can verify. You may import packages from PyPI such as sympy and scipy. \
Print the results, and then analyze the `[Code Output]` that you are given.

Code in any other kind of block will not be executed.

When all paragraphs are verified, give the index of the paragraph with the earliest error, or -1 \
if there is none, within \\boxed{}."""

STATE_VERDICT = """

Let the last word that the code of each paragraph prints be True if the paragraph is correct, and \
False if it is incorrect."""

NOTHING_TO_COMPUTE = """

If a paragraph states nothing that code could check, write the line `Nothing to compute.` in its \
`<verify>` part instead of the code block, and then why."""

PROBLEM = "{{ problem }}"
STEPS = (
    "{% for step in steps %}"
    "<paragraph_{{ loop.index }}>\n{{ step }}\n</paragraph_{{ loop.index }}>\n\n"
    "{% endfor %}"
)
"""The templates of a problem, and of paragraphs between their tags."""
SOLVER = Prompt("solve_system", "What policy and completion model are told first.", SOLVER_SYSTEM)
SOLVE = Prompt("solve", "The problem, as both are given it.", PROBLEM, ("problem",))
RATIONALE_WRITER = Prompt(
    "rationale_system", "What the writer of rationales is told first.", RATIONALE_SYSTEM
)
RATIONALE = Prompt(
    "rationale",
    "What the writer of rationales is asked.",
    RATIONALE_TASK + PROBLEM + RATIONALE_SOLUTION + STEPS + RATIONALE_RULES
    + "{% if not require_code %}" + NOTHING_TO_COMPUTE + "{% endif %}"
    + "{% if state_verdict %}" + STATE_VERDICT + "{% endif %}",
    ("problem", "steps"),
    ("require_code", "state_verdict"),
)  # fmt: skip

THINK_OPEN = "<think>\n"
THINK_CLOSE = "</think>"
ANALYZE_OPEN, ANALYZE_CLOSE = "<analyze>", "</analyze>"
VERIFY_OPEN, VERIFY_CLOSE = "<verify>", "</verify>"
OUTPUT_OPEN, OUTPUT_CLOSE = "<output>", "</output>"

CODE_OPEN = "```python\n"
CODE_CLOSE = "\n```\n"
"""Behind it the code runs, ``code_output`` is appended, and generation goes on."""
FENCE_STOPS = ("```\n", "~~~\n")
"""Generation pauses behind a possible end of a block; `workflows.formats.fences` then reads it."""
OUTPUT_STOP = "\n[Code Output]"
"""Generation pauses where the model begins an output of its own."""

CODE_OUTPUT_OPEN = "[Code Output]\n\n```\n"
FINAL = (
    "### Final Conclusion\n\n"
    "The index of the paragraph with the earliest error, or -1 if there is none.\n\n"
    "ANSWER: \\boxed{"
)
CONCLUSION = f"\n{THINK_CLOSE}\n\n{FINAL}"
RATIONALE_STOPS = (*FENCE_STOPS, THINK_CLOSE)
INDEX_STOP = "}"

VERIFY_LEAD_IN = "Let's use python code to find any potential error:"

_CODE_BLOCK = re.compile(r"```python\n(.*?)\n?```", re.DOTALL)


def policy_chat(problem: str) -> Chat:
    """Ask for a solution, with its first step header forced."""
    return completion_chat(problem, ())


def completion_chat(problem: str, prefix: Sequence[str]) -> Chat:
    """Ask for the rest of a solution whose first steps are ``prefix``."""
    return Chat.of(SOLVER_SYSTEM, problem, solution_steps.opening(prefix))


def paragraph_heading(number: int) -> str:
    """The heading under which the writer verifies paragraph ``number``."""
    return f"### Paragraph {number}\n"


def analyze_lead_in(number: int) -> str:
    """How a verifier's analysis of paragraph ``number`` begins in the exported data."""
    return f"Let's analyze the Paragraph {number} step by step: "


def rationale_chat(
    problem: str,
    steps: Sequence[str],
    state_verdict: bool = False,
    require_code: bool = True,
    texts: Texts = AS_THEY_ARE,
) -> Chat:
    """Ask to verify all steps of a solution, one after the other.

    `state_verdict`: code should also print True or False at the end. Without `require_code` the
    writer may say that a step has nothing to compute.
    """
    user = RATIONALE.of(
        texts,
        problem=problem,
        steps=steps,
        require_code=require_code,
        state_verdict=state_verdict,
    )
    opened = THINK_OPEN + paragraph_heading(1) + ANALYZE_OPEN + "\n"
    return Chat.of(RATIONALE_WRITER.of(texts), user, opened)


def code_block(code: str) -> str:
    """A block of Python, spelt as all executed code is."""
    return CODE_OPEN + code + CODE_CLOSE


def code_output(printed: str) -> str:
    """The block that tells the writer what its code printed."""
    return CODE_OUTPUT_OPEN + printed.rstrip("\n") + CODE_CLOSE


def code_error(kind: str, message: str) -> str:
    """The output of code that raised an exception."""
    return f"Code execute Error: {kind}: {message}"


def last_code(text: str) -> str | None:
    """The last closed python block of a text, or None."""
    blocks: list[str] = _CODE_BLOCK.findall(text)
    return blocks[-1] if blocks else None


def conclude(written: str) -> str:
    """Cut a finished verification behind its last ``</verify>``, and open the index vote.

    Raises ValueError without a ``</verify>``.
    """
    end = written.rfind(VERIFY_CLOSE)
    if end < 0:
        raise ValueError("the verification holds no </verify>")
    return written[: end + len(VERIFY_CLOSE)] + CONCLUSION


def index_vote(voted: str) -> int | None:
    """The 1-based index (or -1) that follows ``CONCLUSION``; None where it can't be read."""
    inside = up_to_brace(voted)
    return index_in(voted if inside is None else inside)
