"""Steps: headers as models write them, and what only looks like one."""

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from workflows.formats.steps import blocks, header, join, openings, read, split, step_flaw


@pytest.mark.parametrize(
    ("text", "steps"),
    [
        pytest.param("Step 1: a\n\nStep 2: b", ("a", "b"), id="plain"),
        pytest.param("### Step 1: a\n\n### Step 2: b", ("a", "b"), id="markdown heading"),
        pytest.param("**Step 1:** a\n**Step 2:** b", ("a", "b"), id="bold with the colon inside"),
        pytest.param("**Step 1**: a\n**Step 2**: b", ("a", "b"), id="bold, colon outside"),
        pytest.param("**Step 1**\na\n\n**Step 2**\nb", ("a", "b"), id="bold alone on its line"),
        pytest.param("## **Step 1: ** a\n## **Step 2: ** b", ("a", "b"), id="bold heading"),
        pytest.param("Step 1. a\nStep 2. b", ("a", "b"), id="a full stop for the colon"),
        pytest.param("Step 1: a\nb\n\nc\nStep 2: d", ("a\nb\n\nc", "d"), id="steps of many lines"),
    ],
)
def test_headers_are_stripped_and_start_steps(text: str, steps: tuple[str, ...]) -> None:
    assert split(text) == steps


SPELLINGS = (
    "Step 2:", "STEP 2:", "step 2:", "Step 2 :", "Step 2.", "Step 2)", "Step 2 -", "STEP 2 -",
    "Step 2 \u2013", "Step 2 \u2014", "Step 2 \u2192", "Step 2 =>", "Step 2\uff1a", "Step\u00a02:",
    "Step\u202f2:", "\u3000Step 2:", "Step 2\n", "Step 2\r\n", "Step #2:", "Step No. 2:", "Step-2:",
    "Step2:", "Step 02:", "Step \uff12:", "Step two:", "Step 2/3:", "Step 2 of 3:", "(Step 2)",
    "[Step 2]", "\u3010Step 2\u3011", "\tStep 2:", "> Step 2:",
    "**Step 2**", "**Step 2**:", "**Step 2:**", "**Step 2**.", "**Step 2.**", "**STEP 2)**",
    "*Step 2:*", "_Step 2_:", "__Step 2:__", "***Step 2:***", "<b>Step 2:</b>",
    "<strong>Step 2</strong>:", "\\textbf{Step 2:}", "\\textbf{Step 2}:",
    "## Step 2\n", "### Step 2:", "###Step 2:", "## **Step 2: ** ", "#### **Step 2**\n",
    "`Step 2:`", "**(Step 2)**", "**[Step 2]**:", "Step (2):", "=== Step 2 ===", "--- Step 2: ---",
    "$\\textbf{Step 2:}$", "\\noindent\\textbf{Step 2.}", "\\item Step 2:", "\u27a4 Step 2:",
    "\U0001f449 **Step 2:**",
    "- Step 2:", "* **Step 2:**", "+ Step 2 -", "\u2022 Step 2:", "2. Step 2:", "2) **Step 2:**",
)  # fmt: skip


@pytest.mark.parametrize("spelt", SPELLINGS)
def test_a_header_is_known_however_it_is_spelt(spelt: str) -> None:
    assert split(f"Step 1: It is 12.\n\n{spelt} Then 17.\n\nStep 3: So.") == (
        "It is 12.",
        "Then 17.",
        "So.",
    )


@pytest.mark.parametrize(
    ("spelt", "step"),
    [
        ("**Step 2: Add it up** Then 17.", "**Add it up** Then 17."),
        ("**Step 2 - Add it up**\n\nThen 17.", "**Add it up**\n\nThen 17."),
        ("**Step 2 Add it up**\nThen 17.", "**Add it up**\nThen 17."),
        ("**Step 2 (add):** Then 17.", "**(add):** Then 17."),
        ("\\textbf{Step 2: Add} Then 17.", "\\textbf{Add} Then 17."),
        ("\\section*{Step 2: Add}\nThen 17.", "\\section*{Add}\nThen 17."),
        ("Step 2 (add): Then 17.", "(add): Then 17."),
        ("Step 2 (add)\nThen 17.", "(add)\nThen 17."),
        ("### Step 2: Add\nThen 17.", "Add\nThen 17."),
        ("### Step 2 Add\nThen 17.", "Add\nThen 17."),
        ("#### Step 2: **Add**\nThen 17.", "**Add**\nThen 17."),
        ("(Step 2: add) Then 17.", "(add) Then 17."),
        ("**(Step 2: add)** Then 17.", "**(add)** Then 17."),
        ("- **Step 2: Add** Then 17.", "**Add** Then 17."),
    ],
)
def test_a_title_belongs_to_its_step(spelt: str, step: str) -> None:
    assert split(f"Step 1: It is 12.\n\n{spelt}\n\nStep 3: So.") == ("It is 12.", step, "So.")


def test_line_ends_may_be_those_of_windows() -> None:
    assert split("**Step 1**\r\na\r\n\r\n**Step 2**\r\nb\r\n") == ("a", "b")


@pytest.mark.parametrize("fence", ["```", "~~~", "````", "   ```"])
def test_no_header_stands_in_a_fenced_block(fence: str) -> None:
    block = f"{fence}python\nStep 2: print(1)\n# Step 2: more\n{fence}"
    assert split(f"Step 1: Code:\n{block}\n\nStep 2: b") == (f"Code:\n{block}", "b")


LINES = ("```", "````", "~~~", "```python", "~~~ x", "``` `", "Step 2: b", "a", "")


@given(st.lists(st.sampled_from(LINES), max_size=12))
def test_fenced_blocks_are_those_of_commonmark(lines: list[str]) -> None:
    parsed = MarkdownIt("commonmark").parse("\n".join([*lines, ""]))
    fences = [(token.map or [0, 0], token.content) for token in parsed if token.type == "fence"]
    # One that nothing closes is no fence here: see the test of that.
    assume(all(end - start == inside.count("\n") + 2 for (start, end), inside in fences))
    fenced = {line for (start, end), _ in fences for line in range(start, end)}
    headers = [at for at, line in enumerate(lines) if line[:4] == "Step" and at not in fenced]
    found = read("\n".join(["Step 1: x", *lines])).starts[1:]
    assert found == tuple(10 + sum(len(line) + 1 for line in lines[:at]) for at in headers[:1])


@pytest.mark.timeout(10)
@pytest.mark.parametrize(
    "text",
    [
        " " * 200_000, "> " * 100_000, "~~~ x\n" * 20_000, "```\n" * 20_001, "\n \n" * 50_000,
        "**Step 2" + " " * 100_000 + "x", "**Step 2 (" * 50_000, "# " * 100_000, "<a" * 100_000,
    ],
    ids=lambda text: f"{text[:10]!r}",
)  # fmt: skip
def test_no_text_takes_long(text: str) -> None:
    assert len(split(text)) <= 1
    blocks(text)


def test_a_fence_that_nothing_closes_hides_no_step() -> None:
    assert split("Step 1: Code:\n```\nx\n\nStep 2: b") == ("Code:\n```\nx", "b")


def test_a_plan_stays_in_its_step() -> None:
    plan = "Plan:\n- Step 2: multiply\n- **Step 3:** add\n- Step 4: check"
    assert read(f"Step 1: {plan}\n\nStep 2: b\n\nStep 3: c") == (
        (plan, "b", "c"),
        (0, len(plan) + 10, len(plan) + 21),
        False,
    )


@pytest.mark.parametrize(
    ("text", "flaw"),
    [
        ("Step 1: a\n\nStep 2: b", None),
        ("No header at all.", None),
        ("Step 1: a\n\nStep 3: c", "step_gap"),
        ("Step 1: a\n\nThen b\n\n- Step 3: c\n- Step 4: d", "step_gap"),
        ("Step 1: a\nStep 7: is far away.\n\nStep 2: b", None),
        ("Step 1:\n\nStep 2: b", "empty_step"),
    ],
)
def test_two_steps_are_never_merged_in_silence(text: str, flaw: str | None) -> None:
    assert step_flaw(text) == flaw


@pytest.mark.parametrize(
    "written",
    [
        "Step 1: a\n\nStep 2: b\n\nStep 3: c",
        "Step 1:\n**Set up** a \n**Step 2: Add** b\r\n\r\n\n### Step 3 Check\nc\n",
        "Step 1: a\n```\nStep 2: x\n```\n * Step 2 - b\n * Step 3 - c",
    ],
)
def test_a_rollout_continues_the_very_bytes_and_a_bare_header(written: str) -> None:
    solution = read(written)
    assert openings(written, solution.steps) == (
        "Step 1: ",
        written[: solution.starts[1]] + "Step 2: ",
        written[: solution.starts[2]] + "Step 3: ",
    )


def test_steps_that_the_text_no_longer_shows_are_joined() -> None:
    assert openings("Step 1: a\n\nSTEP 2: b", ("a\n\nSTEP 2: b", "c")) == (
        "Step 1: ",
        "Step 1: a\n\nSTEP 2: b\n\nStep 2: ",
    )


def test_two_digit_numbers_are_headers_too() -> None:
    steps = tuple(f"do {number}" for number in range(1, 13))
    assert split(join(steps)) == steps
    assert header(12) == "Step 12: "


@pytest.mark.parametrize(
    "inside",
    [
        "Step up by 3 each time.",
        "Step by step: we add.",
        "Step 2.5: is no number of a step.",
        "Step 2a: is half of one.",
        "Step 1 - 3: all of them.",
        "Step 2's result is 5.",
        "Step 1 gave us 5, so we go on.",
        "By Step 1: nothing changes.",
        "Steps 3: are many.",
        "Step 7: is far away.",
        "Step 1: said so before.",
    ],
)
def test_what_only_looks_like_a_header_stays_inside_its_step(inside: str) -> None:
    text = f"Step 1: a\n{inside}\n\nStep 2: b"
    assert split(text) == (f"a\n{inside}", "b")


def test_a_text_without_headers_is_one_step() -> None:
    assert split("The answer is 5.\nSurely.") == ("The answer is 5.\nSurely.",)


def test_an_empty_text_has_no_steps() -> None:
    assert split(" \n") == ()


def test_text_before_the_first_header_belongs_to_no_step() -> None:
    assert split("Let me think.\nStep 1: a\nStep 2: b") == ("a", "b")


def test_a_rest_of_a_solution_may_start_with_a_later_number() -> None:
    assert split("Step 4: d\n\nStep 5: e") == ("d", "e")


def test_an_empty_step_keeps_its_place() -> None:
    assert split("Step 1: \n\nStep 2: b") == ("", "b")


@given(st.lists(st.from_regex(r"[a-z0-9=+ .]{1,30}", fullmatch=True).map(str.strip), max_size=20))
def test_split_undoes_join(written: list[str]) -> None:
    steps = tuple(step for step in written if step)
    assert split(join(steps)) == steps
