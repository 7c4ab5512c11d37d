r"""Exports: GenPRM's format to the letter, and texts that must not break it."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage.errors import ItemError
from storage.rows.kinds import AGREEMENTS, LABELS, PATHS, PROBLEMS, RATIONALES, ShardRows
from storage.rows.records import (
    Agreement,
    CodeRun,
    Example,
    Message,
    Path,
    PathLabels,
    Problem,
    Rationale,
)  # fmt: skip
from workflows.formats import prompts
from workflows.formats.conversation import (
    CODE,
    COT,
    DIRECT,
    Reason,
    check_example,
    clean_text,
    code_only,
    example_of,
)
from workflows.judging.agreement import exported_labels
from workflows.labels.rule import first_error
from workflows.settings import ConsensusSettings
from workflows.stages.export import ExportStage  # fmt: skip

MODELS = {"policy": "P", "completer": "C", "rationale": "R"}
PROBLEM = Problem("p", "What is 1 + 1?", "2")
VERIFICATION = "```python\nprint(1 + 1)\n```\n\n[Code Output]\n\n```\n2\n```\n\nIt is 2."

FIRST_TURN = r"""<analyze>
Let's analyze the Paragraph 1 step by step: One and one is two.
</analyze>
<verify>
Let's use python code to find any potential error:
```python
print(1 + 1)
```

[Code Output]

```
2
```

It is 2.
</verify>
<output>
**Judgement**: $\boxed{Yes}$
</output>
"""


def path(steps: int) -> Path:
    return Path(
        path_id="p#0", problem_id="p", index=0, round=0, text="", finish_reason="stop",
        steps=[f"Step text {number}." for number in range(1, steps + 1)], answer="2", correct=True,
        valid=True, invalid_reason=None, duplicate_of=None, selected=True, tokens=1, seed=0,
    )  # fmt: skip


def labels(pattern: str) -> PathLabels:
    right = [mark == "1" for mark in pattern]
    return PathLabels(
        path_id="p#0", problem_id="p", mc=[0.5] * (len(right) + 1), n=[8] * (len(right) + 1),
        value=[1.0] * len(right), labels=right, first_error=first_error(right), form="ratio",
        threshold=0.8, policy_pass_at_1=0.5,
    )  # fmt: skip


def rationale(
    steps: int, analysis: str = "One and one is two.", verification: str = VERIFICATION
) -> Rationale:
    return Rationale(
        path_id="p#0", problem_id="p", analyses=[analysis] * steps,
        verifications=[verification] * steps,
        executions=[CodeRun(step, "print(1 + 1)", "2", "ok", 0.1, 0.0) for step in range(steps)],
        votes=[-1], text="",
        code_rounds=1, finish_reason="stop", model="R", seed=0, tokens=1,
    )  # fmt: skip


def example(pattern: str = "10", rule: str = "all_steps", **parts: str) -> Example:
    settings = ConsensusSettings(rule=rule)  # type: ignore[arg-type]
    steps = len(pattern)
    judged = labels(pattern)
    return example_of(
        PROBLEM, path(steps), exported_labels(judged.labels, settings), judged.mc,
        rationale(steps, **parts), MODELS, "run",
    )  # fmt: skip


def test_a_conversation_is_the_released_format_to_the_letter() -> None:
    made = example("10")
    assert made.conversations == [
        Message(
            "system",
            "You are a math teacher. Your task is to review and critique the paragraphs in "
            "solution step by step.",
        ),
        Message("user", "Question: What is 1 + 1?\n\nStep text 1."),
        Message("assistant", FIRST_TURN),
        Message("user", "Step text 2."),
        Message(
            "assistant", FIRST_TURN.replace("Paragraph 1", "Paragraph 2").replace("{Yes}", "{No}")
        ),
    ]


def test_an_example_says_where_it_comes_from() -> None:
    made = example("10")
    assert (made.problem_id, made.path_id, made.run) == ("p", "p#0", "run")
    assert (made.policy, made.completer, made.rationale_writer) == ("P", "C", "R")
    assert (made.labels, made.first_error, made.mc) == ([True, False], 1, [0.5] * 3)
    assert made.executions[0].code == "print(1 + 1)"


@pytest.mark.parametrize(
    ("rule", "monotone", "exported"),
    [
        ("all_steps", True, [True, False, True]),
        ("first_error", True, [True, False, False]),
        ("first_error", False, [True, False, True]),
        ("none", True, [True, False, True]),
    ],
)
def test_labels_after_the_first_error(rule: str, monotone: bool, exported: list[bool]) -> None:
    settings = ConsensusSettings(rule=rule, monotone_labels=monotone)  # type: ignore[arg-type]
    assert exported_labels([True, False, True], settings) == exported


HOSTILE = [
    pytest.param({"analysis": "It ends </analyze> here."}, "tag_in_text", id="a closing tag"),
    pytest.param({"analysis": "<output>Yes</output>"}, "tag_in_text", id="a whole output"),
    pytest.param({"verification": VERIFICATION + "</ Verify >"}, "tag_in_text", id="spaced tag"),
    pytest.param(
        {"verification": "```python\nprint('</verify>')\n```\n"}, "tag_in_text", id="tag in code"
    ),
    pytest.param(
        {"verification": VERIFICATION + "\n**Judgement**: $\\boxed{Yes}$"},
        "judgement_in_text",
        id="a judgement",
    ),
    pytest.param(
        {"analysis": "It holds. ** Judgment: ** Yes"}, "judgement_in_text", id="without a box"
    ),
    pytest.param({"verification": "```python\nprint(1)\n"}, "open_code_block", id="open block"),
    pytest.param(
        {"verification": VERIFICATION + "\n[Code Output]: 3"}, "not_executed", id="made-up output"
    ),
    pytest.param(
        {"verification": VERIFICATION.replace("\n2\n", "\n3\n")}, "not_executed", id="other output"
    ),
    pytest.param(
        {"analysis": "So:\n```py\nprint(2)\n```\nIndeed."}, "not_executed", id="code not run"
    ),
    pytest.param({"analysis": "so\n```\nno end"}, "open_code_block", id="open block in analysis"),
    pytest.param(
        {"verification": "```python\nprint('\\\\boxed{Yes}')\n```\n"},
        "judgement_in_code",
        id="code that prints a judgement",
    ),
    pytest.param(
        {"verification": "```python\nx\n```\n\n```\n\\boxed{ $\\text{No}$ }\n```\n"},
        "judgement_in_code",
        id="output that is a judgement",
    ),
]


@pytest.mark.parametrize(("parts", "reason"), HOSTILE)
def test_a_text_that_would_break_the_structure_is_dropped(
    parts: dict[str, str], reason: str
) -> None:
    with pytest.raises(ItemError) as caught:
        example("1", **parts)
    assert caught.value.reason == reason


BOXES = [
    (r"The answer \boxed{5} is right.", "The answer 5 is right."),
    (r"I say \boxed{Yes}.", "I say Yes."),
    (r"\boxed{\frac{1}{2}}", r"\frac{1}{2}"),
    (r"\boxed{a \boxed{b}}", "a b"),
    (r"cut \boxed{5", "cut 5"),
    ("```python\nprint(r'\\boxed{5}')\n```\n\\boxed{6}", "```python\nprint(r'\\boxed{5}')\n```\n6"),
]


@pytest.mark.parametrize(("written", "cleaned"), BOXES)
def test_boxes_in_prose_are_opened_and_code_stays_as_it_ran(written: str, cleaned: str) -> None:
    assert clean_text(written) == cleaned


def test_a_step_said_to_have_nothing_to_compute_is_exported_as_it_stands() -> None:
    whole = replace(rationale(1), verifications=["Nothing to compute. A name."], executions=[])
    made = example_of(PROBLEM, path(1), [True], [0.5, 1.0], whole, MODELS, "run")
    assert f"{prompts.VERIFY_LEAD_IN}\nNothing to compute. A name.\n</verify>" in (
        made.conversations[-1].content
    )
    assert code_only(made).conversations[-1].content.startswith("<verify>")
    invented = replace(whole, verifications=["Nothing to compute.\n```output\n7\n```\nSo."])
    with pytest.raises(ItemError, match="no code printed"):
        example_of(PROBLEM, path(1), [True], [0.5, 1.0], invented, MODELS, "run")


def test_a_lead_in_is_not_said_twice() -> None:
    made = example(
        "1",
        analysis="Let's analyze the Paragraph 1 step by step: One and one is two.",
        verification="Let's use python code to find any potential error:\n" + VERIFICATION,
    )
    assert made.conversations[2].content == FIRST_TURN


@given(
    st.lists(
        st.sampled_from(
            [
                "a",
                " ",
                "\n",
                "```",
                "```python\n",
                "</analyze>",
                "<output>",
                "**Judgement**: ",
                r"\boxed{",
                "Yes}",
                "}",
            ]
        ),
        max_size=12,
    ).map("".join)
)
def test_any_text_is_exported_in_the_format_or_dropped(text: str) -> None:
    try:
        made = example("10", analysis="x " + text, verification="y " + text)
    except ItemError as error:
        assert error.reason in set(Reason)
    else:
        check_example(made)


def broken(at: int, old: str, new: str) -> Example:
    made = example("10")
    turns = list(made.conversations)
    assert old in turns[at].content
    turns[at] = replace(turns[at], content=turns[at].content.replace(old, new))
    return replace(made, conversations=turns)


VIOLATIONS = {
    "system text": lambda: broken(0, "teacher", "professor"),
    "no Question": lambda: broken(1, "Question: ", ""),
    "one newline before the step": lambda: broken(1, "\n\n", "\n"),
    "judgement flipped": lambda: broken(2, "Yes", "No"),
    "judgement in lower case": lambda: broken(2, "{Yes}", "{yes}"),
    "no judgement": lambda: broken(2, r"$\boxed{Yes}$", "Yes"),
    "paragraph number": lambda: broken(4, "Paragraph 2", "Paragraph 1"),
    "lead-in of the code": lambda: broken(4, "Let's use python", "We use python"),
    "parts out of order": lambda: broken(2, "<analyze>", "<verify>"),
    "text after the output": lambda: broken(2, "</output>", "</output> done"),
    "a second judgement": lambda: broken(2, "It is 2.", "It is 2.\n**Judgement**: Yes"),
    "a second box": lambda: broken(2, "It is 2.", r"It is \boxed{2}."),
    "an open code block": lambda: broken(2, "\n```\n\nIt is", "\n\nIt is"),
    "an empty step": lambda: broken(3, "Step text 2.", " "),
    "a turn missing": lambda: replace(
        example("10"), conversations=example("10").conversations[:-1]
    ),
    "roles swapped": lambda: replace(
        example("1"), conversations=[*example("1").conversations[:2], Message("user", FIRST_TURN)]
    ),
    "labels too many": lambda: replace(example("10"), labels=[True, False, False]),
    "first error": lambda: replace(example("10"), first_error=0),
    "mc too short": lambda: replace(example("10"), mc=[0.5]),
    "nothing": lambda: replace(example("1"), conversations=[], labels=[], mc=[0.5]),
}


@pytest.mark.parametrize("name", VIOLATIONS)
def test_the_checker_finds_every_violation_of_the_format(name: str) -> None:
    with pytest.raises(ItemError, match="bad_format"):
        check_example(VIOLATIONS[name]())


def test_the_views_leave_out_what_their_names_say() -> None:
    made = example("10")
    (cot,), (code,), (direct,) = COT.rows([made]), CODE.rows([made]), DIRECT.rows([made])
    start, output = FIRST_TURN.index("<verify>"), FIRST_TURN.index("<output>")
    assert cot.conversations[2].content == FIRST_TURN[:start] + FIRST_TURN[output:]
    assert code.conversations[2].content == FIRST_TURN[start:]
    assert direct.conversations[2].content == FIRST_TURN[output:]
    assert direct.conversations[4].content == FIRST_TURN[output:].replace("Yes", "No")
    assert "directly" in direct.conversations[0].content
    assert cot.conversations[0] == made.conversations[0]
    for view in (cot, code, direct):
        assert [turn.role for turn in view.conversations] == [t.role for t in made.conversations]
        assert view.conversations[1::2] == made.conversations[1::2]
        assert replace(view, conversations=[]) == replace(made, conversations=[])


async def test_the_stage_exports_kept_paths_and_counts_the_rest() -> None:
    def agreed(name: str, kept: bool) -> Agreement:
        return Agreement(
            name, "p", kept, None if kept else "index_mismatch", None, None, "all_steps",
            labels=[True, True],
        )  # fmt: skip

    names = ("p#0", "p#1", "p#2")
    rows = ShardRows(
        {
            PROBLEMS: (PROBLEM,),
            PATHS: tuple(replace(path(2), path_id=name) for name in names),
            LABELS: tuple(replace(labels("11"), path_id=name) for name in names),
            RATIONALES: (
                replace(rationale(2), path_id="p#0"),
                replace(rationale(2), path_id="p#1"),
                replace(rationale(2, analysis="</verify>"), path_id="p#2"),
            ),
            AGREEMENTS: (agreed("p#0", True), agreed("p#1", False), agreed("p#2", True)),
        }
    )
    result = await ExportStage(run="run", models=MODELS).run(rows)
    assert [row.path_id for row in result.rows] == ["p#0"]
    assert [(drop.item, drop.reason) for drop in result.drops] == [("p#2", "tag_in_text")]
    assert result.counts == {
        "steps": 2,
        "steps wrong": 0,
        "steps wrong, not judged": 0,
        "steps that their analysis contradicts": 0,
        "steps that their code contradicts": 0,
        "steps cut for a contradiction": 0,
        "rationales (1, not recorded)": 3,
        "kept (1, not recorded)": 1,
        "kept_steps (1, not recorded)": 2,
        "kept_wrong_steps (1, not recorded)": 0,
    }


@pytest.mark.parametrize(("executes", "rows"), [(True, 0), (False, 1)])
async def test_rows_of_a_run_that_executes_nothing_say_so(executes: bool, rows: int) -> None:
    kept = Agreement(
        "p#0", "p", True, None, None, None, "all_steps", labels=[True, True]
    )  # fmt: skip
    made = await ExportStage(run="run", models=MODELS, executes=executes).run(
        ShardRows(
            {
                PROBLEMS: (PROBLEM,),
                PATHS: (path(2),),
                LABELS: (labels("11"),),
                RATIONALES: (replace(rationale(2), executions=[]),),
                AGREEMENTS: (kept,),
            }
        )
    )
    assert [row.executed for row in made.rows] == [False] * rows
    assert [drop.reason for drop in made.drops] == ["not_executed"] * (1 - rows)
