"""The floor on a stage's yield: what comes near it, when it stops a run, and what is said then."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from rich.console import Console

from actors.engines.contract import Chat, EngineSettings
from actors.engines.scripted import Latency, ScriptedEngine
from actors.workers.contract import Processor
from actors.workers.yields import HEAD, REPLIES, SHOWN, TAIL, TEXTS, Floor, Text, Yield, shortened
from launch.config import load
from launch.verbs.runs.status import status_tables
from storage.audit import audit
from storage.errors import BelowFloor, ConfigurationError
from storage.objects.opening import open_store
from storage.runs.stops import stop_reason
from tests.support.local_cluster import LocalCluster
from tests.support.scripted_world import (
    InProcessSandbox,
    ScriptedWorld,
    scripted_build,
    world_problems,
    write_problems,
)
from tests.support.virtual_time import virtually
from workflows.builds.configuration import BuildConfig
from workflows.formats import prompts
from workflows.runs.driving import continue_run
from workflows.runs.run import finish
from workflows.runs.starting import start_run
from workflows.runs.status import run_status
from workflows.runs.workers import StageMaker, floor_of
from workflows.stages import OF_RUNS

PROBLEMS = world_problems(16)
Script = Callable[[Chat, int], str]
STRATEGIES = Path(__file__).parents[3] / "configs/strategies"


def configure(folder: Path, **change: Any) -> BuildConfig:
    config = scripted_build("r", {"k_hard": 8, "k_medium": 8, "k_easy": 8, "probe": 8})
    write_problems(PROBLEMS, folder / "problems.jsonl")
    (folder / "build.yaml").write_text(json.dumps(config | change))
    return load(folder / "build.yaml", store=f"file:{folder}/store")


class Odd:
    """A build of the scripted world in which a script stands for the model of one role."""

    def __init__(
        self,
        config: BuildConfig,
        role: str = "",
        script: Script | None = None,
        latency: Latency | None = None,
    ) -> None:
        self.config = config
        self.run = start_run(config, open_store(config.store), None)
        self.asked: list[Chat] = []
        self._world = ScriptedWorld(PROBLEMS)
        self._role = role
        self._script = script
        self._latency = latency
        self.cluster = LocalCluster(self.run, self._stages, floor_of(config))

    def _stages(self, role: str) -> Mapping[str, Processor]:
        maker = StageMaker(self.config, self.run.name)
        if role == "cpu":
            return maker.pure()
        engine = self._world.engine(role)
        if role == self._role and self._script is not None:
            settings = EngineSettings(kind="scripted", max_in_flight=64)
            engine = ScriptedEngine(self._said, settings, latency=self._latency)
        return maker.around(role, engine, InProcessSandbox())

    def _said(self, chat: Chat, seed: int) -> str:
        self.asked.append(chat)
        assert self._script is not None
        return self._script(chat, seed)

    async def work(self) -> None:
        await continue_run(self.run, self.config, self.cluster, 2, lambda event: None)


def says(text: str) -> Script:
    return lambda chat, seed: f"{text} {seed}"


def never_votes(chat: Chat, seed: int) -> str:
    votes = chat.prefill.endswith(prompts.CONCLUSION)
    return "I can't say" if votes else ScriptedWorld(PROBLEMS).rationale(chat, seed)


STOPPED: dict[str, tuple[str, Script, dict[str, Any], str, str, str]] = {
    "a policy that never boxes": (
        "policy", says("add them.\n\nStep 2: so it is"), {}, "sample", "no_box", "boxed"),
    "a policy that writes no steps": (
        "policy", says("It is \\boxed{5}."), {}, "sample", "one_step", "Step 2:"),
    "a policy that skips a header": (
        "policy", says("a\n\nStep 3: so \\boxed{5}."), {}, "sample", "step_gap", "Step 2:"),
    "a policy that never ends": (
        "policy", says("and so on " * 40), {"sample": {"cap": 64, "max_tokens": 30}},
        "sample", "truncated", "stages.sample.max_tokens"),
    "a policy of the knapsack": (
        "policy", says("It is 5."), {"sample": {"cap": 64, "budget": "knapsack"}},
        "sample", "no_box", "boxed"),
    "a completer that never boxes": (
        "completer", says("so it is 5"), {}, "estimate", "no_box", "boxed"),
    "a completer of a tree that never boxes": (
        "completer", says("so it is 5"),
        {"road": ["sample", "search", "label"], "search": {"rollouts": 8}},
        "search", "no_box", "boxed"),
    "a writer of another form": (
        "rationale", says("All is well.</think>"), {}, "rationalize", "paragraph_missing", "form"),
    "a writer that never ends": (
        "rationale", says("and so on " * 40), {"rationalize": {"total_tokens": 30}},
        "rationalize", "truncated", "stages.rationalize.total_tokens"),
    "a writer that can't vote": (
        "rationale", never_votes, {}, "rationalize", "no_vote", "form"),
    "a judge of another form": (
        "judge", says("All is well."),
        {"road": ["sample", "judge", "consensus"], "consensus": {"sources": ["judge"]}},
        "judge", "unreadable", "judge"),
    "a judge of another form, whose silence is a verdict": (
        "judge", says("All is well."),
        {"road": ["sample", "judge", "consensus"], "judge": {"ungraded": "wrong"},
         "consensus": {"sources": ["judge"]}},
        "judge", "unreadable", "judge"),
}  # fmt: skip
"""Role, what its model says, stages; the stage that stops, the flaw, a word of the advice."""


def staged(folder: Path, role: str, stages: dict[str, Any], **change: Any) -> BuildConfig:
    config = scripted_build("r", {"k_hard": 8, "k_medium": 8, "k_easy": 8, "probe": 8}, **stages)
    models = {
        **config["models"],
        **({"judge": config["models"]["policy"]} if role == "judge" else {}),
    }
    return configure(folder, stages=config["stages"], models=models, **change)


@pytest.mark.parametrize("name", STOPPED)
async def test_a_model_of_whose_texts_nothing_can_be_made_stops_the_run(
    name: str, tmp_path: Path
) -> None:
    role, script, stages, stage, flaw, advice = STOPPED[name]
    build = Odd(staged(tmp_path, role, stages), role, script)
    with pytest.raises(BelowFloor) as stopped:
        await build.work()
    said, *shown = str(stopped.value).splitlines()
    assert said.startswith(f"run r stopped in stage {stage}: of ")
    assert f"({flaw} " in said and advice in said and "`floor: off`" in said
    assert len(shown) == SHOWN and all(f" ({flaw}): " in line for line in shown)
    assert run_status(build.run).stopped == str(stopped.value)
    shown_there = io.StringIO()
    Console(file=shown_there, width=2000).print(status_tables(run_status(build.run)))
    assert str(stopped.value) in shown_there.getvalue()


@virtually
async def test_the_budget_is_not_burnt(tmp_path: Path) -> None:
    sample = {"cap": 2048, "first_round": 32}
    config = staged(tmp_path, "policy", {"sample": sample}, shard_size=16)
    build = Odd(config, "policy", says("It is 5."), Latency(token_s=1.0))
    worker = await worker_of(build)
    with pytest.raises(BelowFloor):
        await worker.work("sample", 0)
    assert len(build.asked) <= (REPLIES + 4) * 32, "of 16 * 2048 samples of the one shard"
    assert not build.run.shards_of("sample")


def wrong(chat: Chat, seed: int) -> str:
    return f"a {seed}.\n\nStep 2: so \\boxed{{0.123456}}"


def one_in_ten(chat: Chat, seed: int) -> str:
    return ScriptedWorld(PROBLEMS).policy(chat, seed) if seed % 10 == 0 else f"It is 5. {seed}"


def disagrees(chat: Chat, seed: int) -> str:
    said = ScriptedWorld(PROBLEMS).rationale(chat, seed)
    if not chat.prefill.endswith(prompts.CONCLUSION):
        return said
    return "-1}" if said != "-1}" else "0}"


LOSSY: dict[str, tuple[str, Script, dict[str, Any]]] = {
    "problems that are too hard": ("policy", wrong, {}),
    "one text in ten that is of use": ("policy", one_in_ten, {}),
    "rollouts that are all wrong": ("completer", lambda chat, seed: "so \\boxed{0.123456}", {}),
    "a judge that never agrees": ("rationale", disagrees, {}),
    "votes that nobody hears": (
        "rationale", never_votes, {"consensus": {"sources": ["labels", "tool"]}}),
}  # fmt: skip


@pytest.mark.parametrize("name", LOSSY)
async def test_what_is_merely_wrong_or_lost_by_a_rule_never_stops_a_run(
    name: str, tmp_path: Path
) -> None:
    role, script, stages = LOSSY[name]
    build = Odd(staged(tmp_path, role, stages), role, script)
    await build.work()
    finish(build.run)
    assert audit(build.run).findings == ()
    assert sum(stage.counts.get("texts", 0) for stage in run_status(build.run).stages) > 10 * TEXTS


async def test_floor_off_goes_on_and_the_run_is_the_same_run(tmp_path: Path) -> None:
    build = Odd(configure(tmp_path), "policy", says("It is 5."))
    with pytest.raises(BelowFloor):
        await build.work()
    on = Odd(configure(tmp_path, floor="off"), "policy", says("It is 5."))
    assert on.run.spec == build.run.spec
    await on.work()
    assert stop_reason(on.run) is None, "it is out of date"
    finish(on.run)
    sample = run_status(on.run).stages[1]
    assert sample.drops == {"no_valid_path": len(PROBLEMS)}
    assert sample.counts["unusable (no_box)"] == sample.counts["texts"] == 64 * len(PROBLEMS)
    assert run_status(on.run).stopped is None


@pytest.mark.parametrize(("before", "stops"), [("It is 5.", True), (None, False)])
async def test_what_was_committed_before_counts(
    before: str | None, stops: bool, tmp_path: Path
) -> None:
    """Two shards without a floor; then the rest, too few texts to say anything by themselves."""
    few = {"sample": {"cap": 3, "first_round": 3, "correct": 9, "incorrect": 9}}
    config = staged(tmp_path, "policy", few, shard_size=8, floor="off")
    first = Odd(config, "policy", says(before) if before else None)
    worker = await worker_of(first)
    await worker.work("sample", 0)
    rest = Odd(replace(config, floor=0.05), "policy", says("It is 5."))
    if stops:
        with pytest.raises(BelowFloor, match=r"of 48 texts 48 are of no use \(no_box 48\)"):
            await rest.work()
        assert len(rest.asked) == 24
    else:
        await rest.work()


async def worker_of(build: Odd, role: str = "policy") -> Any:
    await build.cluster.open(0, role)
    return build.cluster._workers[0]


def counted(replies: int, texts: int, unusable: int) -> Yield:
    found = Yield(replies, texts)
    found.unusable.update({"no_box": unusable})
    return found


@pytest.mark.parametrize(
    ("seen", "enough", "below"),
    [
        (counted(16, 512, 512), True, True),
        (counted(16, 512, 487), True, True),
        (counted(16, 512, 486), True, False),
        (counted(15, 480, 480), False, True),
        (counted(48, 48, 48), True, True),
        (counted(47, 47, 47), False, True),
        (counted(16, 512, 0), True, False),
    ],
)
def test_the_floor_is_a_share_of_enough_texts_of_enough_requests(
    seen: Yield, enough: bool, below: bool
) -> None:
    floor = Floor(0.05, lambda stage, flaw: OF_RUNS[stage].advice(flaw))
    assert (floor.enough(seen), floor.below(seen)) == (enough, below)
    assert Yield.of(seen.counts | {"tokens": 5}) == seen


@pytest.mark.parametrize(
    ("written", "read"),
    [("off", "off"), ('"off"', "off"), ("0.2", 0.2), ("0", 0.0), ("", 0.05)],
)
def test_the_setting_is_a_share_or_off(written: str, read: float | str, tmp_path: Path) -> None:
    config = configure(tmp_path, **yaml.safe_load(f"{{floor: {written}}}" if written else "{}"))
    assert config.floor == read
    assert (floor_of(config) is None) == (read == "off")


@pytest.mark.parametrize(
    ("written", "said"), [(True, "must be a number, not true"), (1.5, "`floor"), ("none", "`floor")]
)
def test_another_setting_is_refused(written: object, said: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=said):
        configure(tmp_path, floor=written)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a\nb", "a\\nb"),
        ("red \x1b[31m\x9b1m\u202e", "red ?[31m?1m?"),
        ("x" * 2000 + "y" * 200, "x" * HEAD + " [...] " + "y" * TAIL),
    ],
)
def test_a_text_is_shown_on_one_line_short_and_harmless(text: str, shown: str) -> None:
    assert shortened(text) == shown


def test_texts_that_are_shown_are_of_the_commonest_reason() -> None:
    seen = Yield()
    for number in range(60):
        flaw = "one_step" if number < 5 else "no_box"
        seen.note([Text(f"p#{number}", f"text {number}", flaw)])
    assert all(len(texts) == SHOWN for texts in seen.shown.values())
    stopped = str(
        Floor(0.05, lambda stage, flaw: OF_RUNS[stage].advice(flaw)).stop("r", "sample", seen)
    ).splitlines()
    assert stopped[1:] == [f"  p#{number} (no_box): text {number}" for number in (5, 6, 7)]
