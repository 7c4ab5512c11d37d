r"""Training conversations in GenPRM's format, and the views of them that `download` exports.

Each step is a user turn, each verification an assistant turn of `<analyze>`, `<verify>` and
`<output>` with the boxed judgement. Each part ends with its tag and a newline, as in GenPRM's
dataset: the authors' inference waits for the newline behind `</output>`. The writer's text must not
break that structure:

- A box in prose is opened (`\boxed{5}` becomes `5`): the judgement is the only box of a turn.
  Boxes in code stay, since code must be exactly what was run.
- A text that quotes a tag or `**Judgement**`, leaves a code block open, or has a boxed Yes or No in
  code is dropped. Escaping would train on text that no model wrote.
- A text that shows unrun code or output is dropped (`workflows.formats.executed`).

Invariant: every example passes `check_example`, and every judgement equals its label. All code that
it shows was run, unless the row says otherwise (`executed`).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from enum import StrEnum

from storage.datasets.view import View, conversations
from storage.errors import ItemError
from storage.rows.records import (
    Example,
    Judgement,
    Message,
    Path,
    Problem,
    Rationale,
)
from workflows.answers.boxes import open_boxes
from workflows.formats import prompts
from workflows.formats.executed import pieces, shown_unrun
from workflows.formats.fences import blocks, masked, unix
from workflows.labels.rule import first_error


class Reason(StrEnum):
    """Why a kept path can't be exported; the list is closed."""

    TAG_IN_TEXT = "tag_in_text"
    """The analysis or verification holds one of the format's tags."""
    JUDGEMENT_IN_TEXT = "judgement_in_text"
    """The analysis or verification holds a `**Judgement**` of its own."""
    OPEN_CODE_BLOCK = "open_code_block"
    """A fence is never closed: it would swallow the judgement."""
    JUDGEMENT_IN_CODE = "judgement_in_code"
    """Code or its output holds a boxed Yes or No."""
    NOT_EXECUTED = "not_executed"
    """Code or an output is shown that was not run."""
    CONTRADICTED = "contradicted"
    """Its first step's own analysis or code contradicts the label
    (`stages.export.contradictions`)."""
    BAD_FORMAT = "bad_format"
    """The finished example fails its check."""


_TAG = re.compile(r"<(?i:/?\s*(?:analyze|verify|output)\s*>)")  # a plain "<": found at once
_JUDGEMENT = re.compile(r"\*\*(?i:\s*judge?ment\s*:?\s*)\*\*")  # a plain "**": found at once
_BOX = re.compile(r"\\boxed\s*\{")
_VERDICT = re.compile(r"(?:yes|no)\W*\}", re.IGNORECASE)
# Up to the closing tag, a run of other characters at a time.
_ANALYSIS, _VERIFICATION = (rf"[^<]*(?:<(?!/{tag}>)[^<]*)*" for tag in ("analyze", "verify"))
_TURN = re.compile(
    rf"(?:{prompts.ANALYZE_OPEN}\n(?P<analysis>{_ANALYSIS})\n{prompts.ANALYZE_CLOSE}\n)?"
    rf"(?:{prompts.VERIFY_OPEN}\n(?P<verification>{_VERIFICATION})\n{prompts.VERIFY_CLOSE}\n)?"
    rf"{prompts.OUTPUT_OPEN}\n\*\*Judgement\*\*: \$\\boxed\{{(?P<verdict>Yes|No)\}}\$\n"
    rf"{prompts.OUTPUT_CLOSE}\n?"  # runs that were exported before end without
)
QUESTION = "Question: "


def clean_text(text: str) -> str:
    """Make a part of a rationale safe for a turn. Raises ItemError with a Reason."""
    if "<" in text and _TAG.search(text):
        raise ItemError(Reason.TAG_IN_TEXT)
    if _JUDGEMENT.search(text):
        raise ItemError(Reason.JUDGEMENT_IN_TEXT)
    whole = unix(text).strip()
    parts, at = [], 0
    for block in blocks(whole):
        if not block.closed:
            raise ItemError(Reason.OPEN_CODE_BLOCK)
        shown = whole[block.start : block.end]
        if "\\boxed" in shown and _BOX.search(shown) and _VERDICT.search(shown):
            raise ItemError(Reason.JUDGEMENT_IN_CODE)
        parts += [_without_boxes(whole[at : block.start]), shown]
        at = block.end
    return "".join([*parts, _without_boxes(whole[at:])])


def _without_boxes(prose: str) -> str:
    return _BOX.sub("", open_boxes(prose)) if "\\boxed" in prose else prose


def introduced(verification: str) -> tuple[str, str]:
    """Split a verification into (prose before its first code block, the block and the rest).

    In GenPRM's dataset the block comes right behind the lead-in, and the authors' inference opens
    it there. A last line of the prose that only announces the block is left out.
    """
    text = unix(verification).strip()
    first = next(iter(blocks(text)), None)
    if first is None or not first.is_code or pieces(text[: first.start]):
        return "", text
    *before, last = text[: first.start].strip().split("\n")
    return "\n".join(before if last.endswith(":") else [*before, last]).strip(), text[first.start :]


def analyze_part(number: int, analysis: str) -> str:
    """The `<analyze>` block of paragraph `number` (from 1), with its lead-in once."""
    lead_in = prompts.analyze_lead_in(number)
    body = clean_text(analysis).removeprefix(lead_in.strip()).lstrip()
    return f"{prompts.ANALYZE_OPEN}\n{lead_in}{body}\n{prompts.ANALYZE_CLOSE}\n"


def verify_part(verification: str) -> str:
    """The `<verify>` block, with its lead-in once."""
    body = clean_text(verification).removeprefix(prompts.VERIFY_LEAD_IN).lstrip()
    return f"{prompts.VERIFY_OPEN}\n{prompts.VERIFY_LEAD_IN}\n{body}\n{prompts.VERIFY_CLOSE}\n"


def output_part(right: bool) -> str:
    """The `<output>` block."""
    verdict = "Yes" if right else "No"
    judgement = f"**Judgement**: $\\boxed{{{verdict}}}$"
    return f"{prompts.OUTPUT_OPEN}\n{judgement}\n{prompts.OUTPUT_CLOSE}\n"


def verdict_of(turn: str) -> bool | None:
    """The judgement of an assistant turn; None where it lacks the form's parts in their order."""
    match = _TURN.fullmatch(turn)
    return None if match is None else match["verdict"] == "Yes"


def ended(example: Example) -> Example:
    """Add the newline at the end of turns that earlier versions exported without."""
    turns = [
        replace(turn, content=turn.content + "\n")
        if turn.role == "assistant" and turn.content.endswith(prompts.OUTPUT_CLOSE)
        else turn
        for turn in example.conversations
    ]
    return replace(example, conversations=turns)


def spoken(judgement: Judgement) -> Rationale:
    """Turn a judge's verification into a rationale without code."""
    return Rationale(
        path_id=judgement.path_id,
        problem_id=judgement.problem_id,
        analyses=judgement.analyses,
        verifications=[""] * len(judgement.analyses),
        executions=[],
        votes=[judgement.index],
        text=judgement.text,
        code_rounds=0,
        finish_reason=judgement.finish_reason,
        model=judgement.model,
        seed=judgement.seed,
        tokens=judgement.tokens,
    )


def example_of(
    problem: Problem,
    path: Path,
    judged: Sequence[bool],
    mc: Sequence[float],
    rationale: Rationale,
    models: Mapping[str, str],
    run: str,
) -> Example:
    """Make the training conversation of a kept path, over the steps that have labels.

    `judged`: the labels of its first steps. `mc`: the values of states 0..T, or empty. `models`:
    role (policy, completer, rationale or judge) -> model. A rationale without code gives turns
    without `<verify>`. Raises ItemError with one of `Reason`.
    """
    known = len(judged)
    code = any(rationale.verifications)
    turns = [Message("system", prompts.CRITIC_SYSTEM)]
    parts = zip(path.steps, rationale.analyses, rationale.verifications, judged, strict=False)
    for number, (step, analysis, verification, right) in enumerate(parts, start=1):
        question = f"{QUESTION}{problem.problem}\n\n{step}" if number == 1 else step
        introduction, verified = introduced(verification)
        analysis = "\n\n".join(part for part in (analysis.strip(), introduction) if part)
        verified = verify_part(verified) if code else ""
        answer = analyze_part(number, analysis) + verified + output_part(right)
        turns += [Message("user", question), Message("assistant", answer)]
    example = Example(
        conversations=turns,
        problem_id=path.problem_id,
        path_id=path.path_id,
        labels=list(judged),
        first_error=first_error(judged),
        mc=list(mc[: known + 1]),
        executions=[run for run in rationale.executions if run.step < known],
        policy=models.get("policy", ""),
        completer=models.get("completer", ""),
        rationale_writer=models.get("rationale", "") or models.get("judge", ""),
        run=run,
        executed=rationale.executed,
    )
    if trouble := shown_unrun(example):
        raise ItemError(Reason.NOT_EXECUTED, trouble)
    check_example(example, code)
    return example


def steps_of(example: Example, problem: str) -> list[str]:
    """The steps of an example: the texts of its user turns, the first without the problem."""
    shown = [turn.content for turn in example.conversations if turn.role == "user"]
    return [text.removeprefix(f"{QUESTION}{problem}\n\n") for text in shown[:1]] + shown[1:]


def unwritten(
    problem: Problem,
    path: Path,
    judged: Sequence[bool],
    mc: Sequence[float],
    models: Mapping[str, str],
    run: str,
) -> Example:
    """Make the conversation of a kept path without a verification: judgements alone."""
    turns = [Message("system", prompts.DIRECT_SYSTEM)]
    for number, (step, right) in enumerate(zip(path.steps, judged, strict=False), start=1):
        question = f"{QUESTION}{problem.problem}\n\n{step}" if number == 1 else step
        turns += [Message("user", question), Message("assistant", output_part(right))]
    return Example(
        conversations=turns,
        problem_id=path.problem_id,
        path_id=path.path_id,
        labels=list(judged),
        first_error=first_error(judged),
        mc=list(mc[: len(judged) + 1]),
        executions=[],
        policy=models.get("policy", ""),
        completer=models.get("completer", ""),
        rationale_writer="",
        run=run,
    )


def check_example(example: Example, code: bool = True) -> None:
    """Raise ItemError `bad_format` where a full conversation is not exactly in GenPRM's format.

    Checked: turns and their order, `Question: `, lead-ins with the paragraph's number, the three
    parts in order and nothing else, one judgement per turn, a boxed Yes or No that equals its
    label. Without `code` no turn may have a `<verify>`.
    """
    turns, labels = example.conversations, example.labels
    roles = [turn.role for turn in turns]
    if not labels or roles != ["system", *["user", "assistant"] * len(labels)]:
        raise _bad(example, f"roles {roles} for {len(labels)} labels")
    if turns[0].content != prompts.CRITIC_SYSTEM:
        raise _bad(example, "another system text")
    if not re.match(rf"{QUESTION}.*\S.*\n\n.*\S", turns[1].content, re.DOTALL):
        raise _bad(example, "the first user turn is not the question and a step")
    for number, (turn, right) in enumerate(zip(turns[2::2], labels, strict=True), start=1):
        match = _TURN.fullmatch(turn.content)
        if match is None or match["analysis"] is None or (match["verification"] is None) == code:
            raise _bad(example, f"turn {number} does not have the parts in order")
        tags = 6 if code else 4
        if turn.content.count("<") != tags and len(_TAG.findall(turn.content)) != tags:
            raise _bad(example, f"turn {number} quotes a tag")
        if not match["analysis"].startswith(prompts.analyze_lead_in(number)):
            raise _bad(example, f"turn {number} has another lead-in to its analysis")
        if code and not match["verification"].startswith(prompts.VERIFY_LEAD_IN + "\n"):
            raise _bad(example, f"turn {number} has another lead-in to its verification")
        written = match["analysis"] + (match["verification"] or "")
        if _JUDGEMENT.search(written):
            raise _bad(example, f"turn {number} has another judgement")
        boxed = "\\boxed" in written and _BOX.search(masked(written))
        if boxed or any(not block.closed for block in blocks(written)):
            raise _bad(example, f"turn {number} has another box, or an open code block")
        if (match["verdict"] == "Yes") != right:
            raise _bad(example, f"turn {number} does not say its label")
    if any(not turn.content.strip() for turn in turns):
        raise _bad(example, "an empty turn")
    states = len(example.mc)
    if example.first_error != first_error(labels) or states not in (0, len(labels) + 1):
        raise _bad(example, "first_error or mc does not belong to the labels")


def _bad(example: Example, what: str) -> ItemError:
    return ItemError(Reason.BAD_FORMAT, f"{example.path_id}: {what}")


def _with_turns(
    example: Example, rewrite: Callable[[re.Match[str]], str], system: str | None = None
) -> Example:
    turns = [
        replace(turn, content=_TURN.sub(rewrite, turn.content)) if turn.role == "assistant"
        else replace(turn, content=system) if system is not None and turn.role == "system"
        else turn
        for turn in example.conversations
    ]  # fmt: skip
    return replace(example, conversations=turns)


def _without(text: str, opening: str, closing: str) -> str:
    start = text.find(opening)
    if start < 0:
        return text
    return text[:start] + text[text.index(closing, start) + len(closing) + 1 :]


def cot_only(example: Example) -> Example:
    """Leave analysis and judgement in each turn, without code."""
    return _with_turns(
        example, lambda turn: _without(turn[0], prompts.VERIFY_OPEN, prompts.VERIFY_CLOSE)
    )


def code_only(example: Example) -> Example:
    """Leave code and judgement in each turn, without analysis."""
    return _with_turns(
        example, lambda turn: _without(turn[0], prompts.ANALYZE_OPEN, prompts.ANALYZE_CLOSE)
    )


def direct(example: Example) -> Example:
    """Leave the judgement alone in each turn, behind the system text of direct mode."""
    return _with_turns(
        example, lambda turn: output_part(turn["verdict"] == "Yes"), prompts.DIRECT_SYSTEM
    )


def _view(name: str, title: str, of: Callable[[Example], Example]) -> View:
    return conversations(name, title, lambda examples: [of(example) for example in examples])


COT = _view("cot", "GenPRM's conversations with the written analysis only.", cot_only)
CODE = _view("code", "GenPRM's conversations with the executed Python only.", code_only)
DIRECT = _view("direct", "GenPRM's conversations with nothing but the judgement.", direct)
