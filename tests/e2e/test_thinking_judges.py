"""A judge that thinks first: its verdict is read from its answer, and its thoughts are kept."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from actors.engines.contract import Chat
from storage.audit import audit
from storage.rows.kinds import AGREEMENTS, JUDGEMENTS, PATHS, PROBLEMS
from tests.support.judge_strategies import Build
from tests.support.scripted_world import ScriptedWorld
from workflows.formats import judge_prompts
from workflows.views.chains import chains

DRAFT = "".join(
    f"### Paragraph {number}\n<analyze>\nWrong?\n</analyze>\n{judge_prompts.JUDGED_WRONG}\n\n"
    for number in range(1, 12)
)
"""A whole verification that calls every step wrong."""
THINKS = {"judge": {"thinks": True, "max_tokens": 4000}}


class Thinking(ScriptedWorld):
    """Its judge drafts another verdict in its thoughts, as its chat template opened them."""

    opened = ""

    def judge(self, chat: Chat, seed: int) -> str:
        assert chat.prefill == ""
        said = judge_prompts.OPENED + super().judge(chat, seed)
        return f"{self.opened}{DRAFT}Wait, no.\n</think>\n\n{said}"


class Tagging(Thinking):
    """It opens its thoughts itself."""

    opened = "<think>\n"


class Endless(ScriptedWorld):
    """Its judge never comes to the end of its thoughts."""

    def judge(self, chat: Chat, seed: int) -> str:
        return DRAFT + judge_prompts.FINAL + "1}"


@pytest.mark.parametrize("world", [Thinking, Tagging])
def test_thoughts_are_kept_whole_in_the_export_and_are_no_part_of_the_verdict(
    world: type[ScriptedWorld], tmp_path: Path
) -> None:
    builds = {}
    for name, of in (("silent", ScriptedWorld), ("thinking", world)):
        (tmp_path / name).mkdir()
        settings: dict[str, Any] = THINKS if of is world else {}
        builds[name] = Build("thinkprm", tmp_path / name, stages=settings, world=of)
    silent, thinking = builds["silent"], builds["thinking"]
    assert audit(thinking.run).findings == ()
    verdicts = [[row.verdicts for row in build.rows(JUDGEMENTS)] for build in builds.values()]
    assert verdicts[0] == verdicts[1]
    assert [row.labels for row in silent.kept] == [row.labels for row in thinking.kept] != []
    made = chains(*(thinking.rows(kind) for kind in (PROBLEMS, PATHS, JUDGEMENTS, AGREEMENTS)))
    for chain in made:
        (turn,) = chain.completion
        assert turn.content.startswith(f"<think>\n{DRAFT}Wait, no.\n</think>\n\n### Paragraph 1")
        assert DRAFT not in turn.content.partition("</think>")[2]


@pytest.mark.parametrize("limit", [40, 4000])
def test_thoughts_without_an_end_are_a_counted_reason_and_no_verdict(
    limit: int, tmp_path: Path
) -> None:
    settings = {"judge": {"thinks": True, "max_tokens": limit}}
    build = Build("spark_single", tmp_path, stages=settings, world=Endless)
    assert audit(build.run).findings == ()
    assert not build.kept
    assert {row.reason for row in build.rows(AGREEMENTS)} == {"judge_thought_cut"}
    rows = build.rows(JUDGEMENTS)
    assert all(row.index is None and set(row.verdicts) == {None} for row in rows)
    assert build.run.totals("judge").counts["cut in thought"] == len(rows) > 0
