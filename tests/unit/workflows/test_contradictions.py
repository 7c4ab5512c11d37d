"""What a text says of its own step is read from its words, and compared with the label."""

from __future__ import annotations

import pytest

from benchmarks.contradictions import FILE, read_by_eye, score
from storage.rows.records import CodeRun, Rationale
from workflows.judging.contradictions import contradictions, first_contradicted, said

TEXTS: list[tuple[str, bool | None]] = [
    ("So paragraph 2 is correct.", True),
    ("So paragraph 2 is incorrect.", False),
    ("That is not right: 96 + 6 = 102.", False),
    ("There is no error here.", True),
    ("Naming things can't be wrong by itself.", True),
    ("I see nothing wrong with it.", True),
    ("It isn't correct.", False),
    ("The rest is 4, not 6.", False),
    ("At first it looks wrong. But 3 * 4 is 12, so it holds.", True),
    ("At first it looks right. But 3 * 4 is 12, so there is a mistake.", False),
    ("Is it wrong?", None),
    ("Let me check whether it is right.", None),
    ("To verify that it is correct, I compute 3 * 4.", None),
    ("The right side is 12.", None),
    ("It takes 3 times 4.", None),
    ("Paragraph 1 is wrong.", None),
    ("The premises of the problem must entail the claim: The answer is 2.", None),
    ("There is a problem here: 3 * 4 is 12.", False),
    ("It is fine, although there is an error in paragraph 1.", True),
    ("It follows the error in paragraph 1, so it is wrong too.", False),
    ("", None),
]


@pytest.mark.parametrize(("text", "verdict"), TEXTS)
def test_the_last_sentence_on_the_own_paragraph_is_the_verdict(
    text: str, verdict: bool | None
) -> None:
    assert said(text, "", 2) is verdict


def test_code_and_what_it_printed_are_no_prose() -> None:
    verification = "```python\nprint('wrong')\n```\n[Code Output]\n\n```\nwrong\n```\n"
    assert said("", verification, 1) is None
    assert said("", verification + "So it is correct.", 1) is True


def written(*parts: tuple[str, str]) -> Rationale:
    """A rationale of steps, each with an analysis and what its code printed."""
    runs = [CodeRun(step, "", printed, "ok", 0, 0) for step, (_, printed) in enumerate(parts)]
    analyses = [analysis for analysis, _ in parts]
    return Rationale(
        "p#0", "p", analyses, [""] * len(parts), runs, [], "", len(parts), "stop", "m", 0, 1
    )


def test_text_and_code_are_compared_with_the_label_each_for_itself() -> None:
    of = written(("Right.", "3 True"), ("Wrong.", "3 True"), ("Right.", "3"), ("Hm.", "3 False"))
    assert contradictions(of, [True] * 4) == ["", "analysis", "", "code"]
    assert contradictions(of, [False] * 4) == ["analysis, code", "code", "analysis", ""]
    assert first_contradicted(["", "", "code", "analysis"]) == 2
    assert first_contradicted(["", ""]) == 2


def test_of_a_hundred_analyses_read_by_eye_few_are_misjudged() -> None:
    """The figures stand in docs/measured.md; these are bounds below them."""
    found = list(read_by_eye(FILE.read_text(encoding="utf-8").splitlines()))
    assert len(found) == 100
    assert score(found, "either").there > 20
    for kind, precision, recall in (("analysis", 0.9, 0.85), ("code", 1.0, 0.5)):
        of = score(found, kind)
        assert of.both >= precision * of.detected and of.both >= recall * of.there, (kind, str(of))
