"""The texts of stage `translate`: steps as formulas for Z3, their words again, and a comparison.

    state      the problem and every step as formulas, wrong steps as wrong formulas
    say_back   what each formula says, told by a model that sees the formulas alone
    same       whether those words say what the problem and each step say

Invariant: pure. Paragraph 0 is the problem. No prompt has an answer or a label. A text of another
form is not guessed at: it raises ItemError `not_formal`.
"""

from __future__ import annotations

import ast
from collections.abc import Sequence
from enum import StrEnum

from actors.engines.contract import Chat
from storage.errors import ItemError
from workflows.formats import prompts, reading
from workflows.formats.fences import blocks, unix
from workflows.formats.templates import AS_THEY_ARE, Prompt, Texts


class Informal(StrEnum):
    """All reasons why a theorem prover can't check a path."""

    NOT_FORMAL = "not_formal"
    """The problem or a step can't be translated to formulas."""
    STATEMENT_DIFFERS = "statement_differs"
    """Translated back, a formula does not say what the problem or its step says."""


LONGEST = 4000
"""Most characters of one formula."""
STATE_RULES = """
Your task is to write the problem and every paragraph as formulas of the theorem prover Z3, in \
Python. Neither solve the problem nor correct a paragraph: a wrong paragraph needs a formula that \
says the same wrong thing.

Open with `### Paragraph 0` and a ```python block that declares every variable, under a name that \
says what it is, and lists what the problem gives as `premises = [...]`. Then write for each \
paragraph `### Paragraph {ID}` and a ```python block with one boolean expression of Z3: all that \
the paragraph concludes. Everything of Z3 is imported. Write nothing else."""
SAY_TASK = """\
Below are formulas of the theorem prover Z3, in Python: the premises of a problem, and claims \
about it.

### Paragraph 0

"""
SAY_RULES = """
Your task is to say in words what the formulas say, no more and no less, also where they are \
wrong. Write `### Paragraph 0` and what the premises give, then for each claim \
`### Paragraph {ID}` and what it claims."""
SAME_TASK = """\
Below are a math problem and the paragraphs of a solution to it, each with a second text behind \
it. Paragraph 0 is the problem.

"""
SAME_RULES = """
Your task is to compare, not to judge the solution. Write for each paragraph \
`### Paragraph {ID}`, and \\boxed{Yes} if the second text says just what the paragraph concludes \
(for paragraph 0: what the problem gives), be it right or wrong, or \\boxed{No} if it says \
anything else."""

TRANSLATOR = Prompt(
    "translate_system", "What the translator to formulas is told first.",
    "You translate mathematics to formulas and back, word for word.",
)  # fmt: skip
STATE = Prompt(
    "state", "The problem and every step as formulas.",
    prompts.RATIONALE_TASK + prompts.PROBLEM + prompts.RATIONALE_SOLUTION + prompts.STEPS
    + STATE_RULES, ("problem", "steps"),
)  # fmt: skip
SAY_BACK = Prompt(
    "say_back", "What the formulas say.",
    SAY_TASK + "{{ premises }}\n\n{% for claim in claims %}"
    "### Paragraph {{ loop.index }}\n\n{{ claim }}\n\n{% endfor %}" + SAY_RULES,
    ("premises", "claims"),
)  # fmt: skip
SAME = Prompt(
    "same", "Whether the words of the formulas are those of the steps.",
    SAME_TASK + "### Paragraph 0\n\n{{ problem }}\n\n[Second Text]\n\n{{ said[0] }}\n\n"
    "{% for step in steps %}### Paragraph {{ loop.index }}\n\n{{ step }}\n\n[Second Text]\n\n"
    "{{ said[loop.index] }}\n\n{% endfor %}" + SAME_RULES, ("problem", "steps", "said"),
)  # fmt: skip


def state_chat(problem: str, steps: Sequence[str], texts: Texts = AS_THEY_ARE) -> Chat:
    """Ask for the problem and its steps as formulas."""
    return Chat.of(TRANSLATOR.of(texts), STATE.of(texts, problem=problem, steps=steps), "")


def say_chat(premises: str, claims: Sequence[str], texts: Texts = AS_THEY_ARE) -> Chat:
    """Ask what formulas say; neither the problem nor a step is shown."""
    return Chat.of(TRANSLATOR.of(texts), SAY_BACK.of(texts, premises=premises, claims=claims), "")


def same_chat(
    problem: str, steps: Sequence[str], said: Sequence[str], texts: Texts = AS_THEY_ARE
) -> Chat:
    """Ask whether `said` (the problem's, then each step's) says the same."""
    user = SAME.of(texts, problem=problem, steps=steps, said=said)
    return Chat.of(TRANSLATOR.of(texts), user, "")


def read_statements(text: str, steps: int) -> tuple[str, list[str]]:
    """(premises, a claim per step) of an answer to `state_chat`. Raises ItemError `not_formal`."""
    code = []
    for number, body in enumerate(_bodies(text, steps)):
        found = [block.content for block in blocks(body) if block.is_code]
        if len(found) != 1:
            raise ItemError(Informal.NOT_FORMAL, f"paragraph {number} has {len(found)} blocks")
        code.append(found[0].strip())
    premises, *claims = code
    if not any(
        isinstance(line, ast.Assign)
        and any(isinstance(name, ast.Name) and name.id == "premises" for name in line.targets)
        for line in ast.walk(_parsed(premises, "exec", 0))
    ):
        raise ItemError(Informal.NOT_FORMAL, "the problem's block sets no `premises`")
    for number, claim in enumerate(claims, start=1):
        _parsed(claim, "eval", number)
    return premises, claims


def read_words(text: str, steps: int) -> list[str]:
    """What each of T + 1 formulas says. Raises ItemError `not_formal` where one has no words."""
    said = [body.strip() for body in _bodies(text, steps)]
    if not all(said):
        raise ItemError(Informal.NOT_FORMAL, f"paragraph {said.index('')} has no words")
    return said


def read_same(text: str, steps: int) -> list[bool | None]:
    """T + 1 verdicts: True where the words say the same; None: unreadable."""
    return [reading.verdict_in(body) for body in _bodies(text, steps)]


def _bodies(text: str, steps: int) -> list[str]:
    """The text below each heading of paragraphs 0 to T. Raises ItemError `not_formal`."""
    text = reading.behind_thought(unix(text))
    found = reading.sections(text)
    ends = [text.rfind("\n", 0, after.start - 1) + 1 for after in found[1:]]
    bodies = {
        section.number: text[section.start : end]
        for section, end in zip(found, [*ends, len(text)], strict=False)  # no heading: none
        if not section.merged
    }
    missing = [number for number in range(steps + 1) if number not in bodies]
    if missing:
        raise ItemError(Informal.NOT_FORMAL, f"there is no paragraph {missing[0]}")
    return [bodies[number] for number in range(steps + 1)]


def _parsed(code: str, mode: str, number: int) -> ast.AST:
    try:
        if len(code) > LONGEST:
            raise ValueError(f"longer than {LONGEST} characters")
        return ast.parse(code, mode=mode)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise ItemError(Informal.NOT_FORMAL, f"paragraph {number}: {error}") from None
