"""`stepmill train` given what it can't use: one line, exit code 2, nothing written."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from actors.machines.looking import Look
from actors.machines.machine import Gpu, Machine
from actors.training.memory import GIB, ModelShape, Plan, estimate, memory_plan
from actors.training.trainer import schedule
from benchmarks.shapes import SHAPES
from benchmarks.training_speed import configuration
from launch.cli.main import run_command
from launch.config import load_training
from storage.objects.local import LocalStore
from storage.rows.records import Problem
from storage.runs.run import Run
from storage.runs.specs import ShardPlan, Spec, input_digest
from storage.trainings.training import Training, TrainingSpec
from tests.support.training_world import taught_run, tiny_base
from workflows.runs.site import Site
from workflows.training import run
from workflows.training.start import job_settings, settled

CONFIGS = Path(__file__).parents[3] / "configs"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("train")
    store = LocalStore.at(folder / "store")
    taught_run(store)
    taught_run(store, count=0, name="empty")
    given = [Problem("q", "What?", "1")]
    Run.start(store, "half", Spec({}, input_digest(given), ShardPlan(1, 1))).store_input(given)
    tiny_base(folder / "base")
    (folder / "bad.jinja").write_text("{{ messages[0].content }}")
    (folder / "taken").mkdir()
    (folder / "taken" / "file").write_text("mine")
    (folder / "no-weights").mkdir()
    (folder / "no-weights" / "config.json").write_text('{"model_type": "qwen2"}')
    return folder


def written(folder: Path, **changes: Any) -> Path:
    whole: dict[str, Any] = {"run": "taught", "base": "./base", "store": f"file://{folder}/store"}
    config = folder / "train.yaml"
    config.write_text(yaml.safe_dump(whole | changes))
    return config


CASES: dict[str, tuple[dict[str, Any], list[str], str]] = {
    "a run that is not there": ({"run": "nobody"}, [], "no run 'nobody'"),
    "a run that is not finished": ({"run": "half"}, [], "stepmill resume half"),
    "a run that kept nothing": ({"run": "empty"}, [], "kept no example"),
    "one of several that is not finished": (
        {},
        ["--run", "taught", "--run", "half"],
        "resume half",
    ),
    "a run named twice": ({}, ["--run", "taught", "--run", "taught"], "'taught' is named twice"),
    "a run and several": ({"runs": ["a", "b"]}, [], "name one of `run`, `runs` and"),
    "a wrong choice between runs": ({"between_runs": {"repeated": "no"}}, [], "`between_runs.rep"),
    "a view that is none": ({}, ["--view", "essay"], "`view`: input should be"),
    "a folder that is no model": ({"base": "./taken"}, [], "has no config.json"),
    "a model without weights": ({"base": "./no-weights"}, [], "no weights"),
    "a template that can't be masked": ({"chat_template": "bad.jinja"}, [], "can't be masked"),
    "a template that is not there": ({"chat_template": "no.jinja"}, [], "no.jinja can't be read"),
    "more tokens than positions": ({"data": {"max_length": 9999}}, [], "1024 positions"),
    "a folder that is taken": ({}, ["--out", "taken"], "holds something else"),
    "an unknown setting": ({"learning": {"lr": 1}}, [], "unknown key `learning.lr`"),
    "a rate below zero": ({"learning": {"rate": -1}}, [], "`learning.rate`"),
}


@pytest.mark.parametrize("case", CASES)
def test_what_cant_be_used_is_one_line_and_exit_code_2(
    folder: Path, case: str, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    changes, options, said = CASES[case]
    monkeypatch.chdir(folder)
    code = run_command(["train", str(written(folder, **changes)), *options])
    lines = capfd.readouterr().err.strip().splitlines()
    assert (code, len(lines)) == (2, 1)
    assert said in lines[0]
    assert not list(LocalStore.at(folder / "store").list("trainings/"))


def test_the_configurations_of_the_paper_are_whole() -> None:
    for name, size in (("1.5b", "1.5B"), ("7b", "7B"), ("32b", "32B")):
        config = load_training(CONFIGS / f"train_{name}.yaml")
        assert config.base == f"deepseek-ai/DeepSeek-R1-Distill-Qwen-{size}"
        assert (config.learning.batch, config.learning.rate) == (64, 2e-6)
    assert load_training(CONFIGS / "train_demo.yaml", view="direct").training == "demo-direct"


def test_runs_of_the_command_take_the_place_of_those_of_the_file(folder: Path) -> None:
    one, several = {}, {"run": None, "runs": ["a", "b"]}
    for changes in (one, several):
        file = written(folder, **changes)
        for asked in (["c"], ["c", "d"]):
            config = load_training(file, runs=asked)
            assert (config.names, config.is_mixed) == (tuple(asked), len(asked) > 1)
    assert load_training(file).names == ("a", "b")
    assert load_training(file, run="c").names == ("c",)
    assert load_training(file).training == "a-b-genprm"


@pytest.mark.parametrize(("name", "recomputed"), [("1.5b", 0), ("7b", 9), ("32b", 60), ("demo", 0)])
def test_the_configurations_are_ones_that_the_trainer_takes(name: str, recomputed: int) -> None:
    written = load_training(CONFIGS / f"train_{name}.yaml")
    config = settled(written, [Machine("node", bfloat16=True)], None)
    factor = schedule(config.learning, 200)
    assert (factor(0), factor(10)) == (0.0, 1.0)
    assert 0 < factor(199) < 1e-3
    shape = ModelShape.of(configuration(SHAPES["tiny" if name == "demo" else name]))
    memory = None if name == "demo" else 79 * GIB  # of a GPU of 80 GB
    made = memory_plan(job_settings(config), shape, config.spread.micro_tokens, memory)
    assert made.recomputed == recomputed


def test_a_trainings_precision_suits_the_machine_and_stays_what_it_was(tmp_path: Path) -> None:
    config = load_training(CONFIGS / "train_demo.yaml")
    assert config.learning.precision == "auto"
    laptop, server = Machine("laptop"), Machine("server", bfloat16=True)
    assert settled(config, [laptop], None).learning.precision == "float32"
    assert settled(config, [server], None).learning.precision == "bfloat16"
    assert settled(config, [server, laptop], None).learning.precision == "float32"
    spec = TrainingSpec("m", "r", "d", {"learning": {"precision": "bfloat16"}})
    begun = Training(LocalStore(tmp_path), "t", spec)
    assert settled(config, [laptop], begun).learning.precision == "bfloat16"


def test_memory_is_checked_in_the_precision_that_the_gpu_will_train_in(
    folder: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from transformers import AutoConfig

    shape = ModelShape.of(AutoConfig.from_pretrained(folder / "base"))
    memory = estimate(shape, Plan(1, 16384, 4)).total - 1
    assert estimate(shape, Plan(1, 16384, 2)).total < memory
    old = Machine("node", (Gpu("Tesla V100", memory, memory, (7, 0)),))
    monkeypatch.chdir(folder)
    monkeypatch.setattr(Site, "machines", lambda *_: [Look("node", old, {}, {})])
    monkeypatch.setattr(run, "_check_machines", lambda _: None)
    spread = {"gradient_checkpointing": False}
    assert run_command(["train", str(written(folder, spread=spread))]) == 2
    assert "the training needs" in capfd.readouterr().err
