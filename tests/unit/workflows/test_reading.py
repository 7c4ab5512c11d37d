r"""Headings, parts, votes and verdicts: forgiving in form, never a guess."""

from __future__ import annotations

import json
import time

import pytest

from storage.errors import ItemError
from workflows.formats import prompts
from workflows.formats.paper_form import PaperForm
from workflows.formats.rationale import paragraphs
from workflows.formats.reading import boxes, index_in, sections, verdict_in
from workflows.judging.seats import read_alignment, read_paragraphs

CODE = "```python\nprint(1)\n```\n[Code Output]\n\n```\n1\n```\n"


def part(heading: str, word: str = "Sound.", code: str = CODE) -> str:
    return f"{heading}\n<analyze>\n{word}\n</analyze>\n<verify>\n{code}Holds.\n</verify>\n\n"


def judged(heading: str, verdict: str) -> str:
    return f"{heading}\n<analyze>\nSo.\n</analyze>\n<output>\n{verdict}\n</output>\n\n"


YES, NO = r"\boxed{Yes}", r"\boxed{No}"
FIRST = "### Paragraph 1"
HEADINGS = [
    "### Paragraph 2",
    "# Paragraph 2",
    " ### Paragraph 2",
    "\t### Paragraph 2 ###",
    "###Paragraph 2",
    "### paragraph 2:",
    "### PARAGRAPH 2 - The sum",
    "### Paragraph 2: The sum",
    "### Paragraph 2, 3 apples are left",
    "### Paragraph 2 (of 2)",
    "### Paragraph {2}",
    "### Paragraph { 2 }",
    "### Paragraph ID 2",
    "### Paragraph #2",
    "### `Paragraph 2`",
    "### **Paragraph 2**",
    "**Paragraph 2**",
    "**Paragraph 2:**",
    "**Paragraph 2**:",
    "**Paragraph 2: The sum**",
    "__Paragraph 2__",
    "*Paragraph 2*",
    "- **Paragraph 2**",
    "2. **Paragraph 2**",
    "### 2. Paragraph 2",
    "### 2. Paragraph",
    "### Paragraph (2)",
    "### Paragraph {ID: 2}",
    "### Paragraph [2]: The sum",
    "### Paragraph Two",
    "> ### Paragraph 2",
    "### Absatz 2",
    "### Párrafo 2",
    "### Paragraphe 2",
    "### 段落 2",
    "### 第 2 段",
    "Paragraph 2",
    "Paragraph 2: The sum",
    "**Paragraph 2** (the sum)",
    "<paragraph_2>",
]


@pytest.mark.parametrize("heading", HEADINGS)
def test_a_heading_is_known_to_rationale_and_judge_alike(heading: str) -> None:
    analyses, _ = paragraphs(part(FIRST) + part(heading, "It adds."), 2)
    assert analyses == ["Sound.", "It adds."]
    assert read_paragraphs(judged(FIRST, YES) + judged(heading, NO), 2).verdicts == [True, False]


@pytest.mark.parametrize(
    "line",
    [
        "Paragraph 2 is wrong, as we will see.",
        "**Paragraph 2** adds them.",
        "**Paragraph 2 is wrong.**",
        "As in ### Paragraph 2",
        "### Paragraph 2 would follow.",
        "### Step 2",
        "```\n### Paragraph 2\n```",
        "### Paragraph 2.5",
        "### Paragraph 2nd",
    ],
)
def test_what_an_analysis_says_of_another_paragraph_is_no_heading(line: str) -> None:
    text = part(FIRST, f"Sound.\n{line}\nIndeed.")
    assert [section.number for section in sections(text)] == [1]


@pytest.mark.parametrize(
    "heading",
    [
        "### Paragraphs 1-2",
        "### Paragraph 1 and 2",
        "## Paragraphs 1, 2",
        "**Paragraph 1 & 2**",
        "### Paragraph 1 to Paragraph 2",
        "### Paragraph 1, 2 and 3",
        "### Paragraphs 1 and 2 together",
    ],
)
def test_paragraphs_that_are_verified_together_are_not_guessed_apart(heading: str) -> None:
    with pytest.raises(ItemError, match="paragraph_merged"):
        paragraphs(part(heading), 2)
    assert read_paragraphs(judged(heading, NO), 2).verdicts == [None, None]


RATIONALES = {
    "capitals in tags": part(FIRST).replace("analyze>", "Analyze>"),
    "blanks in tags": part(FIRST).replace("</verify>", "</ verify >"),
    "British spelling": part(FIRST).replace("analyze>", "analyse>"),
    "an analysis that the next part ends": part(FIRST).replace("</analyze>\n", ""),
    "a verification that the next heading ends": part(FIRST).replace("</verify>\n", ""),
    "an opening said twice": part(FIRST).replace("<analyze>\n", "<analyze>\n<analyze>\n"),
    "an opening left out": part(FIRST).replace("<verify>\n", ""),
    "a heading said twice": f"{FIRST}\n<analyze>\n" + part(FIRST),
    "a heading said twice inside": part(FIRST, f"{FIRST}\nSound."),
    "a bold heading said twice inside": part(FIRST, "**Paragraph 1**\n\nSound."),
    "a tag that is mentioned": part(FIRST, "Sound.").replace("Holds.", "The <analyze> part holds."),
    "opened again": part(FIRST, "Hasty.") + "Wait.\n\n" + part(FIRST),
    "opened again below one heading": part(FIRST, "Hasty.") + "Wait.\n" + part(""),
    "opened again and left": part(FIRST) + f"Wait.\n\n{FIRST}\n<analyze>\nHm, no.\n</analyze>\n",
    "other line ends": part(FIRST).replace("\n", "\r\n"),
}


@pytest.mark.parametrize("name", RATIONALES)
def test_a_rationale_that_a_careful_reader_can_follow_is_read(name: str) -> None:
    analyses, verifications = paragraphs(RATIONALES[name] + part("### Paragraph 2", "Two."), 2)
    assert analyses == ["Sound.", "Two."]
    assert verifications[0].startswith(CODE.rstrip())


AMBIGUOUS = {
    "two analyses": (part(FIRST).replace("<verify>", "<analyze>\nOr so.\n</analyze>\n<verify>"),
                     "part_repeated"),
    "two verifications, the last without code": (
        part(FIRST).strip() + "\n<verify>Or not.</verify>\n", "part_repeated"),
    "no verification": (f"{FIRST}\n<analyze>\nSound.\n</analyze>\n", "part_missing"),
    "no analysis": (f"{FIRST}\n<verify>\n{CODE}</verify>\n", "part_missing"),
    "a block that swallows the next heading": (
        part(FIRST).replace("print(1)\n```", "print(1)```"), "open_code_block"),
}  # fmt: skip


@pytest.mark.parametrize("name", AMBIGUOUS)
def test_a_rationale_that_can_be_read_in_two_ways_is_a_drop(name: str) -> None:
    text, reason = AMBIGUOUS[name]
    with pytest.raises(ItemError) as caught:
        paragraphs(text + part("### Paragraph 2").replace("[Code Output]\n\n```\n1\n```\n", ""), 2)
    assert caught.value.reason == reason


def test_what_stands_behind_the_thought_is_not_read() -> None:
    text = "<think>\n" + part(FIRST) + part("### Paragraph 2", "Two.") + "</think>\n\n"
    analyses, _ = paragraphs(text + part(FIRST, "In short, sound."), 2)
    assert analyses == ["Sound.", "Two."]
    assert PaperForm(100).conclude(text) == text.split("</verify>\n\n</think>")[0] + (
        prompts.VERIFY_CLOSE + prompts.CONCLUSION
    )


def test_a_last_verification_that_the_thought_ends_is_closed_before_the_vote() -> None:
    text = part(FIRST).replace("</verify>\n\n", "</think>")
    assert len(paragraphs(text, 1)[1]) == 1
    assert PaperForm(100).conclude(text).endswith("Holds.\n</verify>" + prompts.CONCLUSION)


@pytest.mark.parametrize(
    ("said", "index"),
    [
        ("2", 2), (" 2 ", 2), ("-1", -1), ("−1", -1), ("–1", -1), ("- 1", -1), (r"\text{2}", 2),
        ("Paragraph 2", 2), ("paragraph_2", 2), (r"\text{Paragraph 2}", 2),
        ("**2**", 2), ("$2$", 2), ("2.", 2), ("{2}", 2), ("２", 2), ("+2", 2), (r"\mathbf{-1}", -1),
        ("", None), ("two", None), ("2, 3", None), ("2 or 3", None), ("-2", None), ("2.5", None),
        ("1/2", None), ("none", None), ("x", None), ("12345", None),
    ],
)  # fmt: skip
def test_an_index_is_one_number_however_it_is_dressed(said: str, index: int | None) -> None:
    assert index_in(said) == index
    assert prompts.index_vote(said + "}$. That is all.") == index


def test_a_vote_is_stopped_at_its_first_closing_brace() -> None:
    assert prompts.index_vote(r"\text{2") == 2


@pytest.mark.parametrize(
    ("text", "verdict"),
    [
        (r"\boxed{Yes}", True), (r"\boxed{ no }", False), (r"\boxed{\text{Yes}}", True),
        (r"\boxed {\textbf{No}.}", False), (r"$\boxed{**yes**}$", True), (r"\boxed{YES}", True),
        (r"\boxed{Yes} I say: \boxed{Yes}", True), (r"\boxed{17}, so \boxed{No}", False),
        (r"\boxed{Yes} or \boxed{No}", None), (r"\boxed{Yes", None), ("Yes", None),
        (r"\boxed{Yes and no}", None), (r"\boxed{Correct}", None), (r"\boxed{}", None),
    ],
)  # fmt: skip
def test_a_verdict_is_a_boxed_yes_or_no(text: str, verdict: bool | None) -> None:
    assert verdict_in(text) is verdict


def test_boxes_are_read_to_their_own_braces() -> None:
    assert boxes(r"\boxed{\frac{1}{2}} \boxed{a} \boxed{b") == [r"\frac{1}{2}", "a"]
    assert boxes(r"\boxed{a \boxed{b}} \boxed{\}}") == [r"a \boxed{b}", "b", r"\}"]


JUDGES = {
    "a draft in a thought": (
        judged(FIRST, NO) + "Hm, wait.\n</think>\n\n" + judged(FIRST, YES), [True, None], None),
    "opened again": (judged(FIRST, NO) + "Wait.\n" + judged(FIRST, YES), [True, None], None),
    "opened again and left": (judged(FIRST, NO) + f"{FIRST}\nHm.\n", [False, None], None),
    "two verdicts that differ": (judged(FIRST, YES + NO), [None, None], None),
    "an output that the next heading ends": (
        judged(FIRST, YES).replace("</output>", "") + judged("**Paragraph 2**", NO),
        [True, False], None),
    "a verdict outside of its part": (
        f"{FIRST}\n<analyze>\n{YES}\n</analyze>\n", [None, None], None),
    "an index in words": (
        judged(FIRST, YES) + "**Final Answer**\n\nThe first error: \\boxed{\\text{Paragraph } 2}",
        [True, None], 1),
    "an index out of range": (
        judged(FIRST, YES) + "### Conclusion\n\\boxed{3}", [True, None], None),
    "an index under no heading": (judged(FIRST, YES) + "\\boxed{2}", [True, None], None),
}  # fmt: skip


@pytest.mark.parametrize("name", JUDGES)
def test_a_judge_is_read_by_the_same_rules(name: str) -> None:
    text, verdicts, index = JUDGES[name]
    found = read_paragraphs(text, 2)
    assert (found.verdicts, found.index) == (verdicts, index)


def entry(explanation: str = "so", number: object = 1, label: str = "CORRECT") -> str:
    body = json.dumps({"paragraph": number, "reference": [1], "label": label})
    return f'{body[:-1]}, "explanation": "{explanation}"}}'


ALIGNED = [
    (entry(), "so"),
    (entry(number="1"), "so"),
    (entry(label="Correct "), "so"),
    (entry().replace("paragraph", "Paragraph"), "so"),
    (entry() + ",", "so"),
    (entry(number=2) + "]</think>[" + entry(), "so"),
    (entry(r"as \(x\) and \frac{1}{2}"), r"as \(x\) and \frac{1}{2}"),
    (entry(r"\times \theta \beta \neq \nu \to"), r"\times \theta \beta \neq \nu \to"),
    (entry(r"\\frac{1}{2}, \"so\"\tand\nmore"), '\\frac{1}{2}, "so"\tand\nmore'),
    (entry(r"\u00e9 \user"), r"é \user"),
    (entry("two\nlines"), "two\nlines"),
]


@pytest.mark.parametrize(("text", "explanation"), ALIGNED)
def test_an_alignment_may_be_json_as_models_write_it(text: str, explanation: str) -> None:
    for whole in (f"[{text}]", f"Here:\n\n[{text}]\n\nI hope it helps {{smile}}."):
        found = read_alignment(whole, 2)
        assert found.verdicts == [True, None]
        assert found.analyses[0] == explanation


def test_an_alignment_in_a_block_is_read() -> None:
    assert read_alignment(f"```json\n[{entry()}]\n```", 2).verdicts == [True, None]


@pytest.mark.parametrize(
    "text", [entry(number=True), entry(number=1.0), entry(label="RIGHT"), "[1]"]
)
def test_an_alignment_that_says_something_else_grades_nothing(text: str) -> None:
    assert read_alignment(f"[{text}]", 2).verdicts == [None, None]


BLANKS = " " * 20_000


@pytest.mark.timeout(60)
@pytest.mark.parametrize(
    ("text", "numbers"),
    [
        ("~x", []),
        ("#~x", []),
        ("#~1.~x", []),
        ("-~x", []),
        ("1.~x", []),
        ("### 2.~x", []),
        ("### 2.~Paragraph~x", []),
        ("### 2.~Paragraph~", [2]),
        ("###~Paragraph~x", []),
        ("###~Paragraph~2~:~x", [2]),
        ("### Paragraph ID~x", []),
        ("### Paragraph {~x", []),
        ("### Paragraph {~2~}~x", [2]),
        ("### Paragraph 2~-~x", [2]),
        ("### Paragraph 2 to Paragraph~x", [2]),
        ("### Paragraph 1 to 2~x", [1]),
        ("### 第~x", []),
        ("### 第~2~段~x", [2]),
        ("**Paragraph 2:~**~:~x", []),
        ("**Paragraph 2~:~**~:~", [2]),
        ("#~Final~x", []),
        ("#~**~Final~Answer~:~**~:~x", []),
        ("#~**~Final~Answer~:~**~:~", [None]),
        ("Paragraph 2\n<~x", []),
        ("Paragraph 2\n<~/~x", []),
        ("Paragraph 2\n<~verify~x", []),
        ("Paragraph 2\n<~verify~>~x", [2]),
    ],
)
def test_a_long_run_of_blanks_is_read_in_a_moment(text: str, numbers: list[int | None]) -> None:
    for whole in (text.replace("~", BLANKS), text.replace("~", BLANKS.replace(" ", " \t"))):
        started = time.process_time()
        found = sections(whole)
        assert time.process_time() - started < 5
        assert [section.number for section in found] == numbers
    assert [section.number for section in sections(text.replace("~", " "))] == numbers
