"""The judge's prompts, and how its texts are read: nothing guessed, nothing seen but its sight."""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from launch.config import load
from storage.errors import ConfigurationError, ItemError
from storage.rows.records import Problem
from workflows.builds.configuration import check_settings
from workflows.formats import judge_prompts as asked
from workflows.judging.seats import (
    Seat,
    panel,
    read_alignment,
    read_paragraphs,
    repair_chat,
    sight_of,
)
from workflows.runs.starting import planned
from workflows.settings import ConsensusSettings, JudgeSettings

CONFIGS = Path(__file__).parents[3] / "configs/strategies"
PROBLEM = Problem("p", "What is 1 + 1?", "ANSWER-7731", reference_solution="Step 1: REFERENCE-42.")
STEPS = ["One and one.", "Is two."]


def section(number: int, verdict: str, analysis: str = "So.") -> str:
    return (
        f"### Paragraph {number}\n<analyze>\n{analysis}\n</analyze>\n"
        f"<output>\n**Judgement**: $\\boxed{{{verdict}}}$\n</output>\n\n"
    )


def final(index: int) -> str:
    return asked.FINAL + f"{index}}}"


TEXTS = [
    (section(1, "Yes") + section(2, "No") + final(2), [True, False], 1),
    (section(1, "Yes") + section(2, "Yes") + final(-1), [True, True], -1),
    (section(1, "Yes") + final(3), [True, None], None),
    (section(2, "Yes") + section(2, "No") + final(1), [None, False], 0),
    (section(1, "Maybe") + section(2, "No"), [None, False], None),
    ("My own solution.\n\n" + section(1, "No") + section(2, "Yes") + final(1), [False, True], 0),
    (section(1, "Yes").replace("</output>", "\\boxed{No}</output>"), [None, None], None),
    ("", [None, None], None),
]


@pytest.mark.parametrize(("text", "verdicts", "index"), TEXTS)
def test_verdicts_and_index_are_read_or_unreadable(
    text: str, verdicts: list[bool | None], index: int | None
) -> None:
    found = read_paragraphs(text, 2)
    assert (found.verdicts, found.index) == (verdicts, index)
    assert len(found.analyses) == 2


def entry(number: object, label: str = "CORRECT") -> dict[str, object]:
    return {"paragraph": number, "reference": [1], "explanation": f"of {number}", "label": label}


ALIGNED = [
    (json.dumps([entry(1), entry(2, "INCORRECT")]), [True, False]),
    (json.dumps([entry(2)]), [None, True]),
    (json.dumps([entry(1), entry(1), entry(2)]), [None, True]),
    (json.dumps([entry("one"), entry(2, "FINE")]), [None, None]),
    (json.dumps([entry(1), entry(2)])[:-30], [True, None]),
    ("no JSON at all {", [None, None]),
]


@pytest.mark.parametrize(("text", "verdicts"), ALIGNED)
def test_an_alignment_grades_only_what_it_says(text: str, verdicts: list[bool | None]) -> None:
    assert read_alignment(text, 2).verdicts == verdicts


SEATS = [
    Seat(prompt, sees)
    for prompt in ("critique", "resolve")
    for sees in ("none", "answer", "reference_solution")
]


@pytest.mark.parametrize("seat", SEATS, ids=lambda seat: f"{seat.prompt}-{seat.sees}")
def test_a_seat_sees_what_it_is_given_and_nothing_else(seat: Seat) -> None:
    chats = [
        seat.chat(PROBLEM, STEPS),
        seat.critique_chat(PROBLEM, STEPS, "said"),
        seat.merge_chat(PROBLEM, STEPS, "said", "criticised"),
    ]
    for chat in chats:
        text = "".join(message.content for message in chat.messages) + chat.prefill
        assert ("ANSWER-7731" in text) == (seat.sees == "answer")
        assert ("REFERENCE-42" in text) == (seat.sees == "reference_solution")


def test_a_seat_without_its_reference_solution_says_so() -> None:
    with pytest.raises(ItemError, match="no_reference_solution"):
        sight_of(Problem("p", "?", "1"), "reference_solution")


def test_a_repair_is_asked_without_what_came_after_the_wrong_step() -> None:
    chat = repair_chat("none", PROBLEM, STEPS[:1], "Is three.")
    text = chat.messages[1].content
    assert "One and one." in text and "Is three." in text
    assert "ANSWER" not in text and "REFERENCE" not in text


PANELS = [
    ({"prompts": ("align",)}, "reference_solution"),
    ({"prompts": ("critique", "critique")}, "once"),
    ({"prompts": ()}, "at least one"),
    ({"prompts": ("resolve",), "aggregator": "meta_critique"}, "critique"),
    ({"prompts": ("align",), "sees": ("reference_solution",), "verdicts": "index"}, "index"),
]


@pytest.mark.parametrize(("settings", "says"), PANELS)
def test_a_panel_that_can_not_be_is_refused(settings: dict[str, object], says: str) -> None:
    with pytest.raises(ConfigurationError, match=says):
        panel(JudgeSettings(**settings))  # type: ignore[arg-type]


def test_a_build_that_needs_reference_solutions_and_has_none_is_refused(tmp_path: Path) -> None:
    (tmp_path / "problems.jsonl").write_text('{"problem_id": "p", "problem": "?", "answer": "1"}\n')
    shutil.copy(CONFIGS / "spare.yaml", tmp_path / "spare.yaml")
    config = load(tmp_path / "spare.yaml", problems=str(tmp_path / "problems.jsonl"))
    with pytest.raises(ConfigurationError, match="has no problem with a reference_solution"):
        planned(config, None)


ROADS = [
    (["sample", "judge", "consensus"], ("labels", "judge"), "'labels' needs label"),
    (
        ["sample", "judge", "consensus"],
        ("tool",),
        "'tool' needs rationalize or formalize",
    ),
    (["sample", "judge", "consensus"], ("outcome", "judge"), "gives no labels"),
    (["sample", "judge", "consensus"], ("judge", "judge"), "once"),
    (["sample", "judge", "rationalize", "consensus"], ("judge",), "one of them verifies"),
]


@pytest.mark.parametrize(("road", "sources", "says"), ROADS)
def test_sources_that_a_road_can_not_give_are_refused(
    road: list[str], sources: tuple[str, ...], says: str
) -> None:
    config = load(CONFIGS / "spark_single.yaml")
    stages = replace(
        config.stages,
        road=tuple(road),
        consensus=ConsensusSettings(sources=sources),  # type: ignore[arg-type]
    )
    with pytest.raises(ConfigurationError, match=says):
        check_settings(stages)


PREFIXES: list[tuple[ConsensusSettings, str]] = [
    (ConsensusSettings(sources=("judge",)), "from another source"),
    (ConsensusSettings(sources=("labels", "judge", "outcome")), "no outcome"),
    (ConsensusSettings(outcome_overwrites_last=True), "no outcome"),
]


@pytest.mark.parametrize(("consensus", "says"), PREFIXES)
def test_prefixes_are_refused_where_a_prefix_has_no_such_label(
    consensus: ConsensusSettings, says: str
) -> None:
    config = load(CONFIGS / "thinkprm.yaml")
    check_settings(config.stages)
    with pytest.raises(ConfigurationError, match=says):
        check_settings(replace(config.stages, consensus=consensus))


def test_a_strategy_that_is_not_shown_to_be_its_sources_says_so_in_its_file_and_on_the_page() -> (
    None
):
    page = (CONFIGS.parents[1] / "docs/strategies.md").read_text(encoding="utf-8")
    rows = re.findall(
        r"^\| (`[^|]*`) \| ((?:the|differs|not|Stepmill's) \w+) \|", page, re.MULTILINE
    )
    said = {
        file.stem: said
        for names, said in rows
        for name in re.findall(r"`([^`]+)`", names)
        for file in CONFIGS.glob(f"{name}.yaml")
    }
    files = {file.stem: file.read_text(encoding="utf-8") for file in CONFIGS.glob("*.yaml")}
    assert said.keys() == files.keys()
    for name, text in files.items():
        assert text.startswith("# Not shown to be") == (said[name] == "not shown"), name
