"""No output that nobody printed gets into a rationale, whatever a model writes.

Every invented output holds a word that no code prints. CommonMark's own reader (markdown-it-py)
says what a block is.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, replace

import pytest
from hypothesis import find, given, seed, settings
from hypothesis import strategies as st

from actors.workers.contract import ShardResult
from storage.rows.records import CodeRun, Rationale
from tests.support.fake_sandbox import FakeSandbox, rows
from tests.support.kits import kit_of
from tests.support.one_text import OneText
from tests.support.shown_outputs import INVENTED, shown_invented, unlike_what_runs
from workflows.formats import prompts
from workflows.formats.executed import violation
from workflows.settings import RationalizeSettings
from workflows.stages.rationalize import RATIONALIZE, RationaleWriter

SEED = 20261126
GOOD = "```python\nprint(4 * 3)\n```\n"


async def written(
    reply: str,
    sandbox: FakeSandbox | None = None,
    call_tokens: int = 4000,
    **asked: int,
) -> ShardResult[Rationale]:
    """What the writer makes of a reply to a solution of two steps."""
    settings = RationalizeSettings(max_tokens=call_tokens, **({"attempts": 1} | asked))  # type: ignore[arg-type]
    kit = kit_of(RATIONALIZE, OneText(reply), sandbox or FakeSandbox(), rationalize=settings)
    return await RationaleWriter(kit).run(rows())


def reply_of(first: str, second: str = GOOD) -> str:
    """Two paragraphs that verify with these texts; the first heading is forced."""
    return (
        f"Fine.\n</analyze>\n<verify>\n{first}So it holds.\n</verify>\n\n"
        f"### Paragraph 2\n<analyze>\nFine too.\n</analyze>\n<verify>\n{second}So it holds.\n"
        "</verify>\n</think>"
    )


@dataclass(frozen=True)
class Fragment:
    """A block of code and the output that a model makes up behind it."""

    indent: str = ""
    fence: str = "```"
    info: str = "python"
    code: str = "print(4 * 3)"
    closing: str = "```\n"
    """All of the closing line; without a fence the block is not closed where one would think."""
    between: str = ""
    claim: str = ""
    """What is shown as the output; "" where nothing is made up."""

    @property
    def text(self) -> str:
        """As it stands in a verification."""
        opened = f"{self.indent}{self.fence}{self.info}\n{self.indent}{self.code}"
        broken = "" if self.closing.startswith("!") else "\n"
        return f"{opened}{broken}{self.indent}{self.closing.lstrip('!')}{self.between}{self.claim}"


BLOCK = f"```\n{INVENTED}\n```\n"
CLAIMS = (  # the last one is an output only behind code
    "",
    f"[Code Output]\n\n{BLOCK}",
    f"[Code Output]: {INVENTED} True\n",
    f"**[Code Output]**\n{BLOCK}",
    f"[code output: {INVENTED}]\n",
    f"```output\n{INVENTED}\n```\n",
    f"It prints:\n{BLOCK}",
    BLOCK,
)
fragments = st.builds(
    Fragment,
    indent=st.sampled_from(("", " ", "   ", "    ", "- ", "> ")),
    fence=st.sampled_from(("```", "~~~", "````")),
    info=st.sampled_from(
        ("python", "py", "Python", "python3", "python ", " python", "bash", "", "sage", "pycon")
    ),
    code=st.sampled_from(("print(4 * 3)", "x = 1", "print('```')", "ls", "### Paragraph 2", "")),
    closing=st.sampled_from(
        ("```\n", "``` \n", "```\t\n", "~~~\n", "````\n", "```\r\n", "!```\n", "   ```\n",
         "    ```\n", "```so\n", "")
    ),
    between=st.sampled_from(("", "\n", "Hence:\n", "\nAlso, [Code Output] is as it should be.\n")),
    claim=st.sampled_from(CLAIMS),
)  # fmt: skip
pieces = st.one_of(
    fragments.map(lambda fragment: fragment.text),
    st.sampled_from(
        (GOOD, "So.\n", "```\n3x = 36\n```\n", "</verify>\n", "<verify>\n", "### Paragraph 2\n",
         "**Paragraph 1**\n", "```\n", "</think>",
         "Wait.\n### Paragraph 1\n<analyze>\nAgain.\n</analyze>\n<verify>\n", *CLAIMS[:-1])
    ),
)  # fmt: skip
assemblies = st.lists(pieces, min_size=1, max_size=5).map("".join)

CLAIM = CLAIMS[1]
SHAPES: dict[str, tuple[str, Callable[[Fragment], bool]]] = {
    "a fence closed with a trailing blank": (
        Fragment(closing="``` \n", claim=CLAIM).text + GOOD,
        lambda f: f.info == "python" and f.closing == "``` \n" and bool(f.claim),
    ),
    "such a fence behind code that was run": (
        GOOD + "Also:\n" + Fragment(closing="``` \n", claim=CLAIM).text,
        lambda f: f.closing == "``` \n" and bool(f.claim),
    ),
    "py": (
        Fragment(info="py", claim=CLAIM).text + GOOD,
        lambda f: f.info == "py" and bool(f.claim),
    ),
    "an indented fence": (
        Fragment(indent="   ", claim=CLAIM).text + GOOD,
        lambda f: f.indent == "   " and bool(f.claim),
    ),
    "tildes": (
        Fragment(fence="~~~", closing="~~~\n", claim=CLAIM).text + GOOD,
        lambda f: f.fence == "~~~" and f.closing == "~~~\n" and bool(f.claim),
    ),
    "a block of bash": (
        Fragment(info="bash", code="ls", claim=CLAIM).text + GOOD,
        lambda f: f.info == "bash" and bool(f.claim),
    ),
    "an output in a line": (
        Fragment(claim=CLAIMS[2]).text,
        lambda f: f.claim == CLAIMS[2],
    ),
    "a whole output behind the real one": (
        Fragment(between="\n", claim=CLAIM).text,
        lambda f: f.info == "python" and f.closing == "```\n" and f.claim == CLAIM,
    ),
    "a block that claims to be an output": (
        Fragment(claim=CLAIMS[5]).text,
        lambda f: f.claim == CLAIMS[5],
    ),
}  # fmt: skip
"""The nine shapes that once got through, and how each is known among fragments."""


@pytest.mark.parametrize("shape", SHAPES)
async def test_an_invented_output_is_not_kept(shape: str) -> None:
    for row in (await written(reply_of(SHAPES[shape][0]))).rows:
        assert shown_invented(row) == []
        assert unlike_what_runs(row) == []


@pytest.mark.parametrize("shape", SHAPES)
def test_random_fragments_reach_every_shape(shape: str) -> None:
    many = settings(max_examples=5_000, database=None, deadline=None)
    assert find(fragments, SHAPES[shape][1], settings=many, random=random.Random(SEED)).text


@seed(SEED)
@settings(max_examples=300, deadline=None, print_blob=True)
@given(first=assemblies, second=assemblies)
async def test_no_assembly_gets_an_invented_output_through(first: str, second: str) -> None:
    for row in (await written(reply_of(first, second))).rows:
        assert shown_invented(row) == [], f"seed {SEED}"
        assert unlike_what_runs(row) == [], f"seed {SEED}"


@seed(SEED)
@settings(max_examples=500, deadline=None, print_blob=True)
@given(before=assemblies, behind=assemblies)
def test_the_rule_alone_finds_every_invented_output(before: str, behind: str) -> None:
    run = CodeRun(0, "print(4 * 3)", "12", "ok", 0.1, 0.0)
    text = before + prompts.code_block(run.code) + prompts.code_output(run.output) + behind
    if violation(text, [run] * 4) is None:
        row = replace(EMPTY, verifications=[text.replace("\r\n", "\n")])
        assert shown_invented(row) == [], f"seed {SEED}"


EMPTY = Rationale(
    path_id="p#0", problem_id="p", analyses=[""], verifications=[""], executions=[], votes=[],
    text="", code_rounds=0, finish_reason="stop", model="", seed=0, tokens=0,
)  # fmt: skip


@pytest.mark.parametrize(
    ("verification", "output"),
    [
        pytest.param(GOOD, "12", id="as asked for"),
        pytest.param("```py\nprint(4 * 3)\n```\n", "12", id="py"),
        pytest.param("```python \nprint(4 * 3)\n```\n", "12", id="a blank behind the mark"),
        pytest.param("``` Python3\nprint(4 * 3)\n``` \n", "12", id="blanks, capitals, a number"),
        pytest.param("~~~python\nprint(4 * 3)\n~~~\n", "12", id="tildes"),
        pytest.param("  ```python\n  print(4 * 3)\n  ```\n", "12", id="indented"),
        pytest.param("- So:\n  ```python\n  print(4 * 3)\n  ```\n", "12", id="in a list"),
        pytest.param("> ```python\n> print(4 * 3)\n> ```\n", "12", id="in a quote"),
        pytest.param("```python\r\nx = 4\r\nprint(x * 3)\r\n```\r\n", "12", id="other line ends"),
        pytest.param("```python\nprint('```')\n```\n", "'''", id="a fence in the code's own text"),
    ],
)  # fmt: skip
async def test_a_block_is_run_however_it_is_spelt_and_shown_in_one_spelling(
    verification: str, output: str
) -> None:
    (row,) = (await written(reply_of(verification))).rows
    assert [run.output for run in row.executions] == [output, "12"]
    shown = prompts.code_block(row.executions[0].code) + prompts.code_output(output)
    assert shown in row.verifications[0] + "\n"


@pytest.mark.parametrize(
    "prose",
    [
        "The [Code Output] confirms it.\n",
        "As `[Code Output]` says, 12.\n",
        "It is ```12``` indeed.\n",
        "It is 12, again:\n```\n12\n```\n",
        "As a formula:\n```latex\n4 \\cdot 3 = 12\n```\n",
    ],
)
async def test_prose_about_an_output_is_prose(prose: str) -> None:
    (row,) = (await written(reply_of(GOOD + prose))).rows
    assert prose.strip() in row.verifications[0]


@pytest.mark.parametrize(
    ("verification", "reason"),
    [
        pytest.param("```python\nprint(4 * 3)```\nSo.\n", "no_code", id="closed_in_line"),
        pytest.param("```python\nprint(4 * 3)\n    ```\nSo.\n", "no_code", id="too_deep"),
        pytest.param("a\n    ```python\n    print(1)\n    ```\n" + GOOD, "not_executed",
                     id="no_fence_at_all"),
        pytest.param(GOOD.replace("python", "bash"), "no_code", id="another_language"),
        pytest.param(GOOD + CLAIMS[2] * 5, "not_executed", id="again_and_again"),
    ],
)  # fmt: skip
async def test_what_can_not_be_run_is_a_drop_that_says_so(verification: str, reason: str) -> None:
    result = await written(reply_of(verification))
    assert [drop.reason for drop in result.drops] == [reason]


async def test_a_paragraph_that_was_opened_again_is_run_again_as_it_is_exported() -> None:
    sandbox = FakeSandbox()
    again = "\n\nWait, let me look again.\n\n### Paragraph 1\n<analyze>\nBetter.\n</analyze>\n"
    first = "```python\nx = 1\nprint(x)\n```\n"
    second = "```python\ny = 2\nprint(y)\n```\n"
    third = "```python\nz = 3\nprint(z)\n```\n"
    reply = reply_of(first, second).replace(
        "</think>", f"{again}<verify>\n{third}Sure.\n</verify>\n</think>"
    )
    (row,) = (await written(reply, sandbox)).rows
    assert row.analyses == ["Better.", "Fine too."]
    assert [(run.step, run.output) for run in row.executions] == [(0, "3"), (1, "2")]
    assert sandbox.opened == ["p#0/0", "p#0/0/replay"]


async def test_a_paragraph_that_uses_what_only_comes_later_is_dropped() -> None:
    again = "\n\n### Paragraph 1\n<analyze>\nBetter.\n</analyze>\n<verify>\n"
    reply = reply_of(GOOD, "```python\ny = 2\nprint(y)\n```\n").replace(
        "</think>", f"{again}```python\nprint(y + 1)\n```\n</verify>\n</think>"
    )
    (drop,) = (await written(reply)).drops
    assert drop.reason == "not_executed"
    assert "paragraph 1" in drop.detail


async def test_a_call_that_is_cut_at_its_limit_is_continued_by_the_next() -> None:
    whole = (await written(reply_of(GOOD))).rows
    pieces = (await written(reply_of(GOOD), call_tokens=3)).rows
    assert [(row.text, row.executions) for row in pieces] == [
        (row.text, row.executions) for row in whole
    ]


async def test_a_text_of_another_form_goes_on_behind_its_last_good_paragraph() -> None:
    sandbox = FakeSandbox()
    first, second = "```python\nx = 1\nprint(x)\n```\n", "```python\nprint(x + 1)\n```\n"
    bad = "### Paragraph 2\n<analyze>\nI am sure.\n</analyze>\n<verify>\nSure.\n</verify>\n</think>"
    good = f"Better.\n</analyze>\n<verify>\n{second}Yes.\n</verify>\n</think>"
    reply = reply_of(first).split("### Paragraph 2")[0] + bad + good
    (row,) = (await written(reply, sandbox)).rows
    assert row.dropped is None
    assert row.analyses == ["Fine.", "Better."]
    assert [(run.step, run.output) for run in row.executions] == [(0, "1"), (1, "2")]
    assert "I am sure" not in row.text
    assert sandbox.opened == ["p#0/0"], "what is shown is what the interpreter saw"


UNENDING = [
    pytest.param("The index is \\boxed{-1}.\n### Final Conclusion\n" * 400, id="says it again"),
    pytest.param(GOOD + "So it is.\n" + GOOD, id="runs code"),
]


@pytest.mark.parametrize("rest", UNENDING)
async def test_a_conclusion_that_never_ends_drops_no_rationale(rest: str) -> None:
    verified = reply_of(GOOD).removesuffix("</think>")
    said = verified + "\n### Final Conclusion\n\n" + rest
    result = await written(said, total_tokens=600, code_rounds=2)
    (row,) = result.rows
    assert (row.dropped, result.drops) == (None, ())
    assert row.text.endswith("So it holds.\n</verify>\n\n")
    assert [(run.step, run.output) for run in row.executions] == [(0, "12"), (1, "12")]
    assert row.reading == "forgiving"


CONCLUDED = "### Final Conclusion\n\n1\n\n"


@pytest.mark.parametrize(
    "unfinished",
    [
        pytest.param(reply_of(GOOD).split("### Paragraph 2")[0] + CONCLUDED, id="one is missing"),
        pytest.param(
            reply_of(GOOD).removesuffix("</think>")
            + CONCLUDED
            + "### Paragraph 1\n<analyze>\nWait.\n</analyze>\n<verify>\n",
            id="one is opened again",
        ),
    ],
)
async def test_paragraphs_that_were_not_done_when_the_budget_ended_are_dropped(
    unfinished: str,
) -> None:
    (drop,) = (await written(unfinished + 3 * GOOD, code_rounds=2)).drops
    assert drop.reason == "too_many_code_rounds"


async def test_what_was_given_up_is_run_again_without_it() -> None:
    sandbox = FakeSandbox()
    first = "```python\nx = 1\nprint(x)\n```\n"
    bad = (
        "### Paragraph 2\n<analyze>\nSo.\n</analyze>\n<analyze>\nOr so.\n</analyze>\n<verify>\n"
        "```python\nx = 5\nprint(x)\n```\nOk.\n</verify>\n</think>"
    )
    good = (
        f"Better.\n</analyze>\n<verify>\n{GOOD.replace('4 * 3', 'x + 1')}Yes.\n</verify>\n</think>"
    )
    result = await written(reply_of(first).split("### Paragraph 2")[0] + bad + good, sandbox)
    assert [drop.reason for drop in result.drops] == ["not_executed"]
    assert "something else" in result.drops[0].detail


async def test_a_text_that_is_never_of_the_form_keeps_its_first_reason_and_its_text() -> None:
    reply = reply_of(GOOD, "I am sure.\n")
    (drop,), (row,) = (await written(reply)).drops, (await written(reply)).rows
    assert drop.reason == "no_code"
    assert row.text.endswith("I am sure.\nSo it holds.\n</verify>\n</think>")


WHOLE = reply_of(GOOD)
SECOND = "### Paragraph 2\n<analyze>\nFine too."


@pytest.mark.parametrize(
    ("reply", "reading"),
    [
        pytest.param(WHOLE, "strict", id="as asked for"),
        pytest.param(WHOLE.replace("Paragraph 2", "Paragraph 2: the sum"), "strict", id="title"),
        pytest.param(reply_of(GOOD, GOOD + "Or:\n" + GOOD), "strict", id="more code"),
        pytest.param(reply_of(GOOD + "As $x$:\n```latex\nx\n```\n"), "strict", id="a formula"),
        pytest.param(
            WHOLE.replace("### Paragraph 2", "**Paragraph 2**"), "forgiving", id="heading"
        ),
        pytest.param(WHOLE.replace("Fine too.\n</an", "Fine too.\n</An"), "forgiving", id="tag"),
        pytest.param(
            WHOLE.replace("Fine too.\n</analyze>", "Fine too."), "forgiving", id="left open"
        ),
        pytest.param(WHOLE.replace("\n", "\r\n"), "forgiving", id="line ends"),
        pytest.param(reply_of(GOOD.replace("python", "py")), "forgiving", id="py"),
        pytest.param(reply_of(GOOD.replace("```\n", "``` \n")), "forgiving", id="closing fence"),
        pytest.param(
            WHOLE.replace("</think>", "### Paragraph 1\n<analyze>\nAgain.\n</analyze>\n<verify>\n"
                          f"{GOOD}</verify>\n</think>"), "forgiving", id="opened again"),
        pytest.param(
            WHOLE.replace(SECOND, "### Paragraph 2\n<analyze>\nSure.\n</think>Fine too."),
            "forgiving", id="taken up"),
    ],
)  # fmt: skip
async def test_a_rationale_says_whether_it_needed_a_forgiving_reader(
    reply: str, reading: str
) -> None:
    (row,) = (await written(reply)).rows
    assert row.reading == reading


async def test_a_dropped_text_was_read_in_no_way() -> None:
    (row,) = (await written(reply_of("Surely.\n"))).rows
    assert row.dropped and row.reading is None
