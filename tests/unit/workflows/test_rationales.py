"""Paragraphs, code blocks and code outputs, read and written as text."""

from __future__ import annotations

import pytest

from actors.sandbox.contract import Execution, Limits, Verdict
from storage.errors import ItemError
from workflows.formats import prompts
from workflows.formats.paper_form import PaperForm
from workflows.formats.rationale import Unreadable, paragraphs, printed

CODE = "```python\nprint(1)\n```\n[Code Output]\n\n```\n1\n```\n"


def part(number: int, verify: str = CODE, heading: str = "### Paragraph {}") -> str:
    return (
        f"{heading.format(number)}\n<analyze>\nSound {number}.\n</analyze>\n"
        f"<verify>\n{verify}Holds.\n</verify>\n\n"
    )


def test_every_paragraph_has_its_two_parts_with_code_and_outputs() -> None:
    analyses, verifications = paragraphs("<think>\n" + part(1) + part(2) + "</think>", 2)
    assert analyses == ["Sound 1.", "Sound 2."]
    assert verifications == [(CODE + "Holds.").strip()] * 2


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        pytest.param(part(1), "paragraph_missing", id="last_is_missing"),
        pytest.param(part(2), "paragraph_missing", id="first_is_missing"),
        pytest.param("", "paragraph_missing", id="empty"),
        pytest.param(part(2) + part(1), "paragraph_order", id="swapped"),
        pytest.param(part(1) + part(2) + part(3), "paragraph_order", id="one_too_many"),
        pytest.param(part(1, heading="### Paragraphs 1-2"), "paragraph_merged", id="range"),
        pytest.param(part(1, heading="### Paragraph 1 and 2"), "paragraph_merged", id="and"),
        pytest.param(
            part(1, heading="## Paragraphs 1, 2"), "paragraph_merged", id="comma_and_other_level"
        ),
        pytest.param(part(1) + "### Paragraph 2\n<analyze>x</analyze>", "part_missing", id="half"),
        pytest.param(
            part(1) + part(2).replace("Sound 2.", ""), "part_missing", id="empty_analysis"
        ),
        pytest.param(part(1) + part(2).replace("</verify>", ""), "part_missing", id="never_closed"),
        pytest.param(
            part(1) + part(2) + "<verify>again</verify>", "part_repeated", id="verified_twice"
        ),
        pytest.param(part(1) + part(2, verify="I am sure. "), "no_code", id="no_code"),
        pytest.param(
            part(1) + part(2, verify="```sh\nls\n```\n"), "no_code", id="code_of_another_kind"
        ),
    ],
)
def test_a_text_of_another_form_is_a_drop_with_its_reason(text: str, reason: str) -> None:
    with pytest.raises(ItemError) as caught:
        paragraphs(text, 2)
    assert caught.value.reason == reason
    assert reason in set(Unreadable)


def test_headings_and_tags_in_code_and_its_output_are_not_read() -> None:
    noisy = (
        "```python\nprint('''\n### Paragraph 7\n</verify>''')\n```\n"
        "[Code Output]\n\n```\n### Paragraph 7\n</verify>\n```\n"
    )
    _, verifications = paragraphs(part(1, verify=noisy) + part(2), 2)
    assert verifications[0] == (noisy + "Holds.").strip()


def test_a_heading_may_mention_another_number_later_in_its_line() -> None:
    analyses, _ = paragraphs(part(1, heading="### Paragraph {}: the 2 terms") + part(2), 2)
    assert len(analyses) == 2


def ran(verdict: Verdict, stdout: str = "", stderr: str = "", **more: int) -> Execution:
    return Execution(
        verdict=verdict, exit_code=more.get("exit_code"), signal=more.get("signal"),
        stdout=stdout, stderr=stderr, stdout_truncated=False, stderr_truncated=False,
        wall_s=1.0, cpu_s=1.0, peak_memory_kb=1, queued_s=0.0, sandbox_id="s",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("execution", "shown"),
    [
        (ran(Verdict.OK, "1\n2\n"), "1\n2"),
        (ran(Verdict.OK), ""),
        (ran(Verdict.OK, "50 %\r100 %\r\n"), "50 %\n100 %"),
        (ran(Verdict.ERROR, "1\n", "Traceback\n  …\nNameError: x\n"), "1\nNameError: x"),
        (ran(Verdict.ERROR, exit_code=3), "The code exited with status 3."),
        (ran(Verdict.TIMEOUT), "The code was stopped: it ran longer than 2.5 seconds."),
        (ran(Verdict.CPU_TIME), "The code was stopped: it used more than 5 seconds of CPU time."),
        (ran(Verdict.MEMORY), "The code was stopped: it used more than 512 MB of memory."),
        (ran(Verdict.OUTPUT), "The code was stopped: it printed more than 1048576 bytes."),
        (ran(Verdict.KILLED, signal=11), "The code was killed by signal 11."),
    ],
)
def test_every_verdict_has_its_plain_words(execution: Execution, shown: str) -> None:
    assert printed(execution, Limits(wall_s=2.5), 100) == shown


def test_every_verdict_is_covered() -> None:
    for verdict in Verdict:
        printed(ran(verdict), Limits(), 10)


@pytest.mark.parametrize("noise", ["", "\n```python\nprint('### Paragraph 9')\n```\n"])
def test_code_belongs_to_the_paragraph_that_is_being_verified(noise: str) -> None:
    form = PaperForm(100)
    assert form.step_of("<think>\n### Paragraph 1\n<analyze>") == 0
    assert form.step_of(part(1) + "### Paragraph 2\n<analyze>" + noise) == 1
    assert form.step_of("no heading") == 0


def test_the_prompt_has_the_problem_and_every_step_and_opens_the_first_paragraph() -> None:
    chat = PaperForm(100).chat("What is 1 + 1?", ["one", "two"])
    assert [message.role for message in chat.messages] == ["system", "user"]
    assert "What is 1 + 1?" in chat.messages[1].content
    assert "<paragraph_2>\ntwo\n</paragraph_2>" in chat.messages[1].content
    assert chat.prefill == prompts.THINK_OPEN + "### Paragraph 1\n<analyze>\n"


NOTHING = [
    "Nothing to compute.\nThe paragraph only restates the question.\n",
    "**Nothing to compute.** It names the unknowns. ",
    "nothing to compute: a definition. ",
    "- Nothing to compute\n",
]
NO_STATEMENT = [
    "I am sure. ",
    "There would be nothing to compute. ",
    "Nothing to compute? Let me see. ",
    "Nothing to compute here is hard. ",
    "```text\nNothing to compute.\n```\n",
]


@pytest.mark.parametrize("said", NOTHING)
def test_a_step_may_say_that_it_has_nothing_to_compute_only_where_code_is_not_required(
    said: str,
) -> None:
    text = part(1, verify=said) + part(2)
    assert paragraphs(text, 2, require_code=False)[1][0] == f"{said}Holds."
    for form in (PaperForm(9, require_code=True), PaperForm(9)):
        with pytest.raises(ItemError, match="no_code"):
            form.paragraphs(text, 2)
        assert form.last_good(text, 2) is None
    good = PaperForm(9, require_code=False).last_good(text, 2)
    assert good is not None and good[1:] == (1, True)


@pytest.mark.parametrize("said", NO_STATEMENT)
def test_a_step_without_code_has_to_say_so_in_so_many_words(said: str) -> None:
    with pytest.raises(ItemError, match="no_code"):
        paragraphs(part(1, verify=said) + part(2), 2, require_code=False)


def test_the_writer_hears_of_it_only_where_code_is_not_required() -> None:
    asked = [PaperForm(9, require_code=need).chat("?", ["a"]) for need in (True, False)]
    assert ["Nothing to compute." in chat.messages[1].content for chat in asked] == [False, True]
