"""A run grown from fewer problems: what was there is copied, asked of nobody, and the same rows."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from demo.problem import Problem
from launch.cli.main import run_command
from storage.audit import audit
from storage.datasets.download import download
from storage.errors import NothingFound, ObjectCorrupt, SpecMismatch
from storage.objects.opening import open_store
from storage.objects.store import Entry, ObjectStore, Put
from storage.rows.kinds import stage_rows
from storage.runs import layout
from storage.runs.origin import origin_of
from storage.runs.run import Run
from tests.support.deriving import derive, digests, take_over
from tests.support.scripted_build import CONFIG, GIVEN, Build, configure, rows
from tests.support.scripted_world import write_problems
from workflows.builds.configuration import BuildConfig
from workflows.builds.growth import refuse_growth
from workflows.builds.plan import plan
from workflows.looking.run import open_run
from workflows.runs.driving import standing
from workflows.runs.run import finish
from workflows.runs.starting import planned

SMALL, ALL = 6, len(GIVEN)
ASKING = ("sample", "estimate", "rationalize")


def of(config: BuildConfig, run: str, limit: int | None = None) -> BuildConfig:
    return dataclasses.replace(config, run=run, limit=limit)


def worked(config: BuildConfig, run: Run | None = None) -> Build:
    build = Build(config, run)
    asyncio.run(build.work())
    finish(build.run)
    return build


def grown(config: BuildConfig, source: Run) -> tuple[Build, Any]:
    """As `build --from` does; the build, and what was taken over."""
    run = derive(config, source)
    found = take_over(run, config)
    return worked(config, run), found


def fresh(config: BuildConfig, folder: Path) -> Build:
    return worked(dataclasses.replace(config, store=f"file:{folder}/fresh"))


def check_same_rows(run: Run, other: Run) -> None:
    """The same rows, drops and spent tokens, however the shards are cut."""
    for stage in run.spec.stages:
        assert rows(run, stage_rows(stage)) == rows(other, stage_rows(stage)), stage
        theirs, ours = other.totals(stage), run.totals(stage)
        assert ours.drops == theirs.drops, stage
        assert ours.counts.get("tokens") == theirs.counts.get("tokens"), stage


def asked_for(build: Build, problems: list[Problem]) -> set[str]:
    """The problems that a build's models were asked about."""
    return {
        problem.problem_id
        for problem in problems
        for chat in build.world.prompts
        if problem.text in chat.messages[1].content
    }


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Build:
    config = configure(tmp_path_factory.mktemp("small"))
    return worked(of(config, "small", SMALL))


def test_a_grown_run_asks_for_the_new_problems_alone_and_has_the_rows_of_a_fresh_one(
    small: Build, tmp_path: Path
) -> None:
    before = {stage: digests(small.run, stage) for stage in small.run.spec.stages}
    build, found = grown(of(small.config, "large"), small.run)
    assert [build.run.spec.plan.size(shard) for shard in range(4)] == [4, 2, 4, 4]
    assert found.adopted == dict.fromkeys(
        ("problems", "sample", "estimate", "label", "rationalize", "consensus"), 2
    )
    assert found.made == {"export": 2}  # whose rows name their run
    assert {shard for stage, shard in build.cluster.worked if stage in ASKING} == {2, 3}
    assert asked_for(build, GIVEN[:SMALL]) == set()
    assert len(asked_for(build, GIVEN)) == ALL - SMALL
    assert audit(build.run).findings == ()
    shards = [open_run(build.run).shard_of(f"{problem.problem_id}#0") for problem in GIVEN]
    assert shards == [0, 0, 0, 0, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3]
    assert download(build.run, tmp_path / "dataset").rows == build.run.totals("export").rows
    check_same_rows(build.run, fresh(of(small.config, "large"), tmp_path).run)
    assert {stage: digests(small.run, stage) for stage in small.run.spec.stages} == before


def test_a_run_grows_again_and_shrinks(small: Build, tmp_path: Path) -> None:
    nine, _ = grown(of(small.config, "nine", 9), small.run)
    whole, found = grown(of(small.config, "grown-twice"), nine.run)
    assert whole.run.spec.plan.grown_from == (6, 9)
    assert found.adopted["sample"] == 3
    assert asked_for(whole, GIVEN[:9]) == set()
    check_same_rows(whole.run, fresh(of(small.config, "grown-twice"), tmp_path / "a").run)
    five = of(small.config, "five", 5)
    fewer, found = grown(five, whole.run)
    assert (fewer.run.spec.plan.grown_from, found.adopted["sample"]) == ((), 1)
    check_same_rows(fewer.run, fresh(five, tmp_path / "b").run)


def test_whole_shards_grow_into_the_very_run_that_a_fresh_build_would_be(
    small: Build, tmp_path: Path
) -> None:
    eight = worked(of(small.config, "eight", 8))
    build, _ = grown(of(small.config, "from-eight"), eight.run)
    made = fresh(of(small.config, "from-eight"), tmp_path).run
    assert build.run.spec.fingerprint == made.spec.fingerprint
    for stage in made.spec.stages:
        assert digests(build.run, stage) == digests(made, stage), stage


def test_rows_put_behind_a_file_are_counted_left_out_or_built_as_in_a_fresh_build(
    small: Build, tmp_path: Path
) -> None:
    file = write_problems(GIVEN[:SMALL], tmp_path / "problems.jsonl")
    config = dataclasses.replace(
        of(small.config, "appended"),
        problems=str(file),
        leave_out=dataclasses.replace(small.config.leave_out, repeated="drop"),
    )
    twice = {"problem_id": "twice", "problem": GIVEN[0].text, "answer": GIVEN[0].answer}
    cases = r"\begin{cases} 1 & x<0 \\ 2 & x \ge 0 \end{cases}, 2 \mid n"
    odd = {"problem_id": "odd", "problem": "Which function?", "answer": cases}
    new = write_problems(GIVEN[SMALL:], tmp_path / "new.jsonl").read_text()
    with file.open("a") as out:
        out.write(f"{json.dumps(twice)}\n{json.dumps(odd)}\n{new}")
    build, found = grown(config, small.run)
    assert found.adopted["sample"] == 2
    assert build.run.totals("problems").drops == {"repeated": 1, "unusual_answer": 1}
    assert audit(build.run).findings == ()
    check_same_rows(build.run, fresh(config, tmp_path).run)


def test_a_problem_that_was_changed_costs_its_shard_alone(small: Build, tmp_path: Path) -> None:
    file = write_problems(GIVEN, tmp_path / "problems.jsonl")
    lines = file.read_text().splitlines()
    row = json.loads(lines[4])  # the first of the second shard
    lines[4] = json.dumps(row | {"level": "another"})
    file.write_text("\n".join(lines))
    config = dataclasses.replace(of(small.config, "mended"), problems=str(file))
    build, found = grown(config, small.run)
    assert found.adopted == dict.fromkeys(found.adopted, 1)
    assert {shard for stage, shard in build.cluster.worked if stage in ASKING} == {1, 2, 3}
    check_same_rows(build.run, fresh(config, tmp_path).run)


@pytest.mark.parametrize("stages", [
    pytest.param({"sample": {"cap": 64, "budget": "knapsack"}}, id="samples shared in a shard"),
    pytest.param({"label": {"threshold": 0.5}}, id="other labels at once"),
])  # fmt: skip
def test_other_settings_may_differ_or_look_at_a_shard(
    stages: dict[str, Any], tmp_path: Path
) -> None:
    config = configure(tmp_path, stages=CONFIG["stages"] | stages)
    first = worked(of(config, "first", SMALL))
    build, found = grown(of(config, "more"), first.run)
    assert found.adopted["sample"] == 2
    assert audit(build.run).findings == ()
    for shard in range(2):
        assert build.run.commit("sample", shard).sha256 == first.run.commit("sample", shard).sha256


def said_by(call: Callable[[], object]) -> str:
    with pytest.raises(SpecMismatch) as caught:
        call()
    return str(caught.value)


def test_the_same_name_says_in_one_line_which_command_grows_it(
    small: Build, capsys: pytest.CaptureFixture[str]
) -> None:
    file = Path(small.config.problems).parent / "build.yaml"
    before = {entry.key for entry in small.run.store.list("runs/")}
    asked = ["build", str(file), "--store", small.config.store, "--run", "small"]
    assert run_command(asked) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert (
        "run 'small' has 6 problems and stays as it is: the same command with `--run small-14 "
        "--from small` makes a run of the 14 that are there now, and asks the models for the 8 new"
    ) in said
    assert {entry.key for entry in small.run.store.list("runs/")} == before
    assert run_command([*asked, "--limit", "5"]) == 2
    assert "configuration.limit: stored 6, asked for 5" in capsys.readouterr().err


def test_a_grown_run_says_the_same_of_itself(small: Build) -> None:
    nine = of(small.config, "says", 9)
    run = derive(nine, small.run)
    given = planned(of(nine, "says", 12), None).given
    assert "--run says-12 --from says" in said_by(lambda: refuse_growth(run, given))
    refuse_growth(run, planned(nine, None).given)


def test_a_plan_from_the_run_says_what_need_not_be_paid(small: Build) -> None:
    notes = plan(of(small.config, "planned"), small.run, keep=False).notes
    assert any("6 of the 14 problems are run small's: `build --from small`" in at for at in notes)
    notes = plan(of(small.config, "planned", SMALL), small.run, keep=False).notes
    assert not any("takes them over" in note for note in notes)


class Watched:
    """A store that calls something before each call to it."""

    def __init__(self, store: ObjectStore, before: Callable[[], None]) -> None:
        self._store, self._before = store, before
        self.url = store.url

    def put_new(self, key: str, data: bytes) -> Put:
        self._before()
        return self._store.put_new(key, data)

    def get(self, key: str, most: int | None = None) -> bytes:
        self._before()
        return self._store.get(key)

    def list(self, prefix: str, after: str = "") -> Iterator[Entry]:
        self._before()
        return self._store.list(prefix, after)

    def delete(self, key: str) -> None:
        self._before()
        self._store.delete(key)


class Killed(BaseException):
    """The driver's process ended here."""


def removed(store: ObjectStore, run: str, last: str = "spec.json") -> None:
    keys = [entry.key for entry in store.list(layout.run_prefix(run))]
    for key in sorted(keys, key=lambda key: (last in key, key)):
        store.delete(key)


def growing(config: BuildConfig, source: Run, before: Callable[[], None]) -> None:
    """Start the grown run and take over, through a store that is watched."""
    store = Watched(source.store, before)
    run = derive(config, dataclasses.replace(source, store=store))
    take_over(dataclasses.replace(run, store=store), config)


def calls_of(config: BuildConfig, source: Run) -> int:
    calls = 0

    def count() -> None:
        nonlocal calls
        calls += 1

    growing(config, source, count)
    return calls


@pytest.mark.fault
def test_growth_killed_at_any_call_of_the_store_goes_on_to_the_same_run(small: Build) -> None:
    seed = 18
    config = of(small.config, "killed", 9)
    calls = calls_of(config, small.run)
    wanted = {stage: digests(Run.open(small.run.store, "killed"), stage) for stage in
              small.run.spec.stages}  # fmt: skip
    assert calls > 60
    for at in sorted(random.Random(seed).sample(range(1, calls), 24)):
        removed(small.run.store, "killed")
        left = at

        def die() -> None:
            nonlocal left
            left -= 1
            if left <= 0:
                raise Killed

        with pytest.raises(BaseException) as ended:
            growing(config, small.run, die)
        assert "Killed" in repr(ended.value), f"seed {seed}, call {at}"
        run = derive(config, small.run)
        take_over(run, config)
        found = {stage: digests(run, stage) for stage in run.spec.stages}
        assert found == wanted, f"seed {seed}, killed at call {at}"


@pytest.mark.fault
@pytest.mark.parametrize("last", ["spec.json", "/commits/"])
def test_an_origin_removed_while_it_is_taken_over_leaves_a_run_that_the_models_finish(
    last: str, tmp_path: Path
) -> None:
    seed = 5
    config = configure(tmp_path)
    large = of(config, "large", 9)
    reference = fresh(large, tmp_path)
    source = worked(of(config, "small", SMALL)).run
    kept = {entry.key: source.store.get(entry.key) for entry in source.store.list("runs/small/")}
    calls = calls_of(large, source)
    refused = taken = 0
    for at in sorted(random.Random(seed).sample(range(1, calls), 8)):
        removed(source.store, "large")
        for key, data in kept.items():
            source.store.put_new(key, data)
        left = at

        def vanish() -> None:
            nonlocal left
            left -= 1
            if left == 0:
                removed(open_store(config.store), "small", last)

        try:
            growing(large, source, vanish)
        except (NothingFound, ObjectCorrupt, SpecMismatch):
            refused += 1  # in one line; what was stored is whole
        begun = Run.find(source.store, "large")
        if begun is None or origin_of(begun) is None:
            continue
        taken += 1
        build = worked(large, again(large, begun))
        assert audit(build.run).findings == (), f"seed {seed}, removed at call {at}"
        check_same_rows(build.run, reference.run)
    assert taken > 2, f"{taken} of 8 runs were begun, {refused} ended with an error"


def again(config: BuildConfig, begun: Run) -> Run:
    """The same command once the origin is gone."""
    from workflows.runs.starting import create_run

    run = create_run(config, begun.store, planned(config, None, before=begun.spec.plan))
    assert take_over(run, config) is None
    assert not standing(run).finished
    return run
