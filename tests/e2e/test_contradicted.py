"""Rationales that contradict their labels are kept, cut or written again, as the setting says."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from actors.engines.contract import Chat
from demo.rationales import RIGHT, WRONG
from launch.config import load
from storage.audit import audit
from storage.errors import ConfigurationError
from storage.rows.kinds import EXAMPLES, RATIONALES, REWRITTEN
from storage.rows.records import Example
from tests.support.judge_strategies import CONFIGS, Build
from tests.support.scripted_world import ScriptedWorld
from workflows.browsing.path_page import path_pages
from workflows.builds.configuration import check_settings
from workflows.formats import prompts
from workflows.runs.status import run_status
from workflows.settings import ExportSettings

ROAD = ["sample", "estimate", "label", "rationalize", "consensus", "rewrite", "export"]


class Slipping(ScriptedWorld):
    """Its writer's first try of a solution of many steps calls its right paragraphs wrong."""

    def __init__(self, problems: Any) -> None:
        super().__init__(problems)
        self.begun: Counter[str] = Counter()

    def rationale(self, chat: Chat, seed: int) -> str:
        if chat.prefill == prompts.rationale_chat("", ()).prefill:
            self.begun[chat.user] += 1
        opened = Chat(chat.messages, prompts.rationale_chat("", ()).prefill)
        if chat.prefill.endswith(prompts.CONCLUSION) or "<paragraph_4>" not in chat.user:
            return super().rationale(chat, seed)
        whole = opened.prefill + super().rationale(opened, seed)
        self.prompts[-1] = chat
        if self.begun[chat.user] == 1:
            whole = whole.replace(RIGHT, WRONG)
        return whole.removeprefix(chat.prefill)


def built(setting: str, folder: Path) -> Build:
    folder.mkdir()
    stages: dict[str, Any] = {"export": {"contradictions": setting}}
    if setting == "rewrite":
        stages["road"] = ROAD
    build = Build("genprm", folder, stages=stages, world=Slipping)
    assert audit(build.run).findings == ()
    return build


@pytest.fixture(scope="module")
def builds(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Build]:
    folder = tmp_path_factory.mktemp("contradicted")
    return {name: built(name, folder / name) for name in ("keep", "drop", "rewrite")}


def slipped(build: Build, row: Example) -> bool:
    """Whether the first try calls the right paragraphs of a solution wrong."""
    return len(build.paths[row.path_id].steps) > 3 and True in row.labels


def unmended(row: Example) -> bool:
    """Whether a step behind the first error is itself computed right, as every try finds."""
    return any("code" in by for by in row.contradicts)


def test_kept_ones_are_marked_step_by_step_and_counted(builds: dict[str, Build]) -> None:
    build = builds["keep"]
    marked = [by for row in build.rows(EXAMPLES) for by in row.contradicts]
    assert {"", "analysis", "code"} <= set(marked)
    for row in build.rows(EXAMPLES):
        steps = zip(row.labels, row.contradicts, strict=True)
        assert [by for right, by in steps if right] == [
            "analysis" if slipped(build, row) else ""
        ] * row.labels.count(True)
        behind = len(row.labels) if row.first_error is None else row.first_error + 1
        assert not any("code" in by for by in row.contradicts[:behind])
    counts, said = build.run.totals("export").counts, run_status(build.run).labels_said
    for kind in ("analysis", "code"):
        number = sum(kind in by for by in marked)
        assert counts[f"steps that their {kind} contradicts"] == number
        assert said and f"{number} by their {kind}" in said


def test_the_page_of_a_path_says_so_of_each_step(builds: dict[str, Build]) -> None:
    run, seen = builds["keep"].run, 0
    rows = {row.path_id: row for row in run.read_rows(EXAMPLES, 0)}
    for page in path_pages(run, 0, list(rows)):
        row = rows[page["path_id"]]
        for step, notes in enumerate(page["notes"]):
            assert len(notes) == row.follows[step] + bool(row.contradicts[step])
            seen += any("analysis contradicts the label" in note for note in notes)
    assert seen > 0


def test_dropped_ones_end_the_conversation_before_them(builds: dict[str, Build]) -> None:
    kept = {row.path_id: row for row in builds["keep"].rows(EXAMPLES)}
    rows = {row.path_id: row for row in builds["drop"].rows(EXAMPLES)}
    gone = {
        drop.item: drop.reason
        for commit in builds["drop"].run.commits("export")
        for drop in commit.drops
    }
    cut = 0
    for name, whole in kept.items():
        end = next((at for at, by in enumerate(whole.contradicts) if by), len(whole.labels))
        cut += len(whole.labels) - end
        if end == 0:
            assert gone.pop(name) == "contradicted"
            continue
        assert rows[name].labels == whole.labels[:end]
        assert rows[name].conversations == whole.conversations[: 1 + 2 * end]
        assert set(rows[name].contradicts) == {""}
    assert not gone
    assert builds["drop"].run.totals("export").counts["steps cut for a contradiction"] == cut > 0


def test_another_try_takes_the_place_of_a_contradicted_one_and_is_shown_no_label(
    builds: dict[str, Build],
) -> None:
    build = builds["rewrite"]
    first = {row.path_id: row for row in build.rows(RATIONALES)}
    again = {row.path_id: row for row in build.rows(REWRITTEN)}
    kept = {row.path_id: row for row in builds["keep"].rows(EXAMPLES)}
    replaced = {name for name, row in again.items() if row != first[name]}
    mended = {name for name, row in kept.items() if slipped(build, row) and not unmended(row)}
    assert replaced == mended != set()
    for row in build.rows(EXAMPLES):
        before = kept[row.path_id]
        assert not any(row.contradicts)
        assert row.labels == before.labels[: len(row.labels)]
        assert (row.labels == before.labels) == (
            row.path_id in mended or not any(before.contradicts)
        )
        assert (
            row.path_id in mended
            or row.conversations == before.conversations[: len(row.conversations)]
        )
    written = [
        chat for chat in build.world.prompts if chat.messages[0].content != prompts.SOLVER_SYSTEM
    ]
    asked = {chat.messages for chat in written}
    at_first = {chat.messages for chat in builds["keep"].world.prompts}
    assert asked <= at_first  # nothing but what the first try was asked
    assert build.run.totals("rewrite").counts["rewritten"] == len(replaced)


@pytest.mark.parametrize("setting", ["keep", "rewrite"])
def test_the_setting_and_the_stage_go_together(setting: Any) -> None:
    stages = load(CONFIGS / "genprm.yaml").stages
    road = tuple(ROAD) if setting == "keep" else stages.road
    with pytest.raises(ConfigurationError, match="go together"):
        check_settings(replace(stages, road=road, export=ExportSettings(contradictions=setting)))
