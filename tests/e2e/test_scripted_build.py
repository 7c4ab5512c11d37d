"""The whole road with scripted models: problems in, dataset out, nothing lost, nothing doubled."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import re
from pathlib import Path
from typing import Any

import pytest

from storage.audit import audit
from storage.errors import InputError, SpecMismatch
from storage.objects.opening import open_store
from storage.rows.kinds import AGREEMENTS, EXAMPLES, LABELS, PATHS, PROBLEMS, RATIONALES
from storage.rows.records import standing as standing_rationales
from tests.support.scripted_build import GIVEN, Build, configure, rows
from tests.support.scripted_world import (
    write_problems,
)
from workflows.formats.conversation import check_example
from workflows.formats.prompts import rationale_chat
from workflows.runs.driving import continue_run, standing
from workflows.runs.run import finish
from workflows.runs.starting import start_run
from workflows.runs.status import run_status
from workflows.stages import STAGE_NAMES


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Build:
    build = Build(configure(tmp_path_factory.mktemp("built")))
    asyncio.run(build.work())
    finish(build.run)
    return build


async def test_a_finished_build_audits_clean(built: Build) -> None:
    assert standing(built.run).finished
    assert audit(built.run).findings == ()


async def test_a_problem_with_an_unusual_reference_is_left_out_counted_and_the_rest_is_built(
    tmp_path: Path,
) -> None:
    config = configure(tmp_path)
    cases = r"\begin{cases} 1 & x<0 \\ 2 & x \ge 0 \end{cases}, 2 \mid n"
    file = write_problems(GIVEN[:3], tmp_path / "problems.jsonl")
    first, *others = file.read_text().splitlines()
    odd = json.dumps({"problem_id": "odd", "problem": "Which function?", "answer": cases})
    file.write_text("\n".join([first, odd, *others]))
    build = Build(config)
    await build.work()
    finish(build.run)
    assert audit(build.run).findings == ()
    stage = run_status(build.run).stages[0]
    assert (stage.rows, stage.drops) == (3, {"unusual_answer": 1})
    (drop,) = [drop for commit in build.run.commits("problems") for drop in commit.drops]
    assert (drop.item, drop.detail[:13]) == ("odd", "line 2 (odd):")
    strict = dataclasses.replace(config.stages.answers, unusual="refuse")
    stages = dataclasses.replace(config.stages, answers=strict)
    with pytest.raises(InputError, match=r"line 2 \(odd\)"):
        start_run(dataclasses.replace(config, stages=stages), build.run.store, None)


async def test_every_path_is_kept_or_has_a_reason(built: Build) -> None:
    problems = rows(built.run, PROBLEMS)
    assert [p.problem_id for p in problems] == [p.problem_id for p in GIVEN]
    selected = {p.path_id for p in rows(built.run, PATHS) if p.selected}
    labelled = {row.path_id for row in rows(built.run, LABELS)}
    judged = rows(built.run, AGREEMENTS)
    kept = {row.path_id for row in judged if row.kept}
    dropped = {
        stage: {drop.item for c in built.run.commits(stage) for drop in c.drops}
        for stage in STAGE_NAMES
    }
    assert selected == labelled | dropped["estimate"] | dropped["label"]
    assert labelled == {row.path_id for row in judged} | dropped["rationalize"]
    assert all(row.reason for row in judged if not row.kept)
    exported = [row.path_id for row in rows(built.run, EXAMPLES)]
    assert len(exported) == len(set(exported))
    assert set(exported) | dropped["export"] == kept
    assert len(kept) > 10


async def test_status_says_what_was_kept_by_attempt_and_reading(built: Build) -> None:
    groups = run_status(built.run).kept
    examples = rows(built.run, EXAMPLES)
    labels = [label for example in examples for label in example.labels]
    assert [(group.attempt, group.reading) for group in groups] == [(1, "strict")]
    assert sum(group.rationales for group in groups) == len(
        standing_rationales(rows(built.run, RATIONALES))
    )
    assert sum(group.kept for group in groups) == len(examples)
    assert sum(group.kept_steps for group in groups) == len(labels)
    assert sum(group.kept_wrong_steps for group in groups) == labels.count(False) > 0


async def test_every_example_has_the_papers_form_and_judgements_equal_to_its_labels(
    built: Build,
) -> None:
    for example in rows(built.run, EXAMPLES):
        check_example(example)
        boxes = [
            re.findall(r"\\boxed\{(Yes|No)\}", turn.content)[-1]
            for turn in example.conversations
            if turn.role == "assistant"
        ]
        assert [box == "Yes" for box in boxes] == example.labels


async def test_what_the_rationale_writer_is_asked_follows_from_problem_and_steps_alone(
    built: Build,
) -> None:
    texts = {problem.problem_id: problem.text for problem in GIVEN}
    allowed = {
        rationale_chat(texts[path.problem_id], path.steps).user for path in rows(built.run, PATHS)
    }
    asked = [c for c in built.world.prompts if "[Math Problem]" in c.messages[1].content]
    assert asked
    assert all(chat.messages[1].content in allowed for chat in asked)


async def test_two_builds_of_one_configuration_agree_byte_for_byte(
    built: Build, tmp_path: Path
) -> None:
    again = Build(configure(tmp_path / "again"))
    await again.work()
    for stage in STAGE_NAMES:
        first = {c.shard: c.sha256 for c in built.run.commits(stage)}
        second = {c.shard: c.sha256 for c in again.run.commits(stage)}
        assert first == second, stage


async def test_continuing_repeats_no_committed_shard(built: Build, tmp_path: Path) -> None:
    partial = Build(configure(tmp_path / "partial"))

    class Stopped(Exception):
        pass

    committed = 0

    def stop(event: Any) -> None:
        nonlocal committed
        committed += event.what == "committed"
        if committed == 6:
            raise Stopped

    with pytest.raises(Stopped):
        await continue_run(partial.run, partial.config, partial.cluster, 2, stop)
    before = {stage: partial.run.shards_of(stage) for stage in STAGE_NAMES}
    rest = Build(partial.config)
    await rest.work()
    repeated = [(s, i) for s, i in rest.cluster.worked if i in before[s]]
    assert repeated == []
    for stage in STAGE_NAMES:
        assert {c.shard: c.sha256 for c in rest.run.commits(stage)} == {
            c.shard: c.sha256 for c in built.run.commits(stage)
        }


async def test_other_settings_are_refused_with_the_fields_that_differ(built: Build) -> None:
    stages = dataclasses.replace(
        built.config.stages, label=dataclasses.replace(built.config.stages.label, threshold=0.5)
    )
    other = dataclasses.replace(built.config, stages=stages)
    with pytest.raises(SpecMismatch, match=r"label\.threshold: stored 0\.8, asked for 0\.5"):
        start_run(other, open_store(other.store), None)


async def test_another_cluster_may_continue_a_run(built: Build) -> None:
    cluster = dataclasses.replace(built.config.cluster, window=1, parallel_shards=1)
    other = dataclasses.replace(built.config, cluster=cluster)
    assert standing(start_run(other, open_store(other.store), None)).finished
