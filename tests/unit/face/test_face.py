"""`import stepmill`: what it has, that its examples are true, and that it works anywhere."""

from __future__ import annotations

import asyncio
import dataclasses
import doctest
import inspect
import threading
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any, ClassVar

import pytest

import stepmill
import workflows.answers.grading
import workflows.judging.agreement
import workflows.labels.values
from tests.support.scripted_build import configure

WORK = (
    "build", "derive", "download", "evaluate", "preview", "push", "push_model", "refine", "score",
    "solve", "train",
)  # fmt: skip
KEEP = ("copy_run", "list_runs", "remove_run")
READ = (
    "load",
    "load_training",
    "open_run",
    "plan",
    "score_config",
    "scores_of",
    "solve_config",
    "solved",
)
PURE = ("agree", "grade", "label", "read_rationale", "split_steps")
VALUES = (
    "BuildConfig", "Copied", "Download", "Evaluated", "Evaluation", "Listed", "Listener",
    "OpenRun", "Plan", "Pushed",
    "Refinement", "Run", "RunStatus", "ScoreConfig", "SolveConfig", "StageStatus", "TrainConfig",
    "Trained", "Turn", "Verifier", "Watching", "Why",
)  # fmt: skip
ERRORS = (
    "ConfigurationError", "InfrastructureError", "InputError", "ItemError", "NothingFound",
    "Removed", "SpecMismatch", "StepmillError", "UserError",
)  # fmt: skip
MODULES = ("errors", "records", "rewards")


def test_it_exports_exactly_this() -> None:
    asynchronous = [f"{name}_async" for name in WORK]
    assert sorted(stepmill.__all__) == sorted(
        [*WORK, *asynchronous, *KEEP, *READ, *PURE, *VALUES, *ERRORS, *MODULES]
    )
    public = {name for name in vars(stepmill) if not name.startswith("_")}
    assert public == set(stepmill.__all__)


def test_all_of_it_is_documented_and_the_package_says_that_it_is_typed() -> None:
    assert [name for name in stepmill.__all__ if not inspect.getdoc(getattr(stepmill, name))] == []
    assert (Path(stepmill.__file__).parent / "py.typed").is_file()


@pytest.mark.parametrize(
    "module",
    [stepmill, workflows.answers.grading, workflows.labels.values, workflows.judging.agreement],
)
def test_its_examples_are_true(module: ModuleType) -> None:
    found = doctest.testmod(module)
    assert found.attempted > 0
    assert found.failed == 0


@pytest.mark.parametrize("name", WORK)
def test_each_call_that_works_has_a_form_to_be_awaited_with_the_same_arguments(name: str) -> None:
    plain, awaited = getattr(stepmill, name), getattr(stepmill, f"{name}_async")
    assert inspect.iscoroutinefunction(awaited)
    assert inspect.signature(plain) == inspect.signature(awaited)


def elsewhere(work: Callable[[], Any]) -> None:
    """In another thread."""
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()


async def test_it_works_inside_of_a_running_loop_and_prints_nothing(
    here: None, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    config = configure(tmp_path / "run")
    run = stepmill.build(config)
    assert run.success() is not None
    ticks = 0

    async def tick() -> None:
        nonlocal ticks
        while True:
            ticks += 1
            await asyncio.sleep(0)

    ticking = asyncio.create_task(tick())
    again = await stepmill.build_async(config)
    ticking.cancel()
    assert again.success() == run.success()
    assert ticks > 1, "the loop stood still"
    assert stepmill.grade("1/2", ["0.5", "3"]) == [True, False]
    made = stepmill.download(run, tmp_path / "dataset", "cot")
    assert made.rows == sum(1 for _ in stepmill.open_run(run).examples("cot"))
    assert capfd.readouterr() == ("", "")


def test_it_works_in_any_thread(here: None, tmp_path: Path) -> None:
    config = configure(tmp_path / "run")
    elsewhere(lambda: stepmill.build(config))
    assert stepmill.open_run("r", config.store).status().finished


def test_a_listener_hears_what_a_command_would_say(here: None, tmp_path: Path) -> None:
    class Heard(stepmill.Listener):
        lines: ClassVar[list[str]] = []

        def say(self, line: str) -> None:
            self.lines.append(line)

    config = configure(tmp_path / "run")
    stepmill.build(config)
    label = dataclasses.replace(config.stages.label, threshold=0.5)
    stages = dataclasses.replace(config.stages, label=label)
    other = dataclasses.replace(config, run="soft", stages=stages)
    run = stepmill.derive(other, "r", listener=Heard())
    assert run.success() is not None
    (said,) = Heard.lines
    assert said.startswith("run soft from run r: taken over problems, sample, estimate")
