"""What people try in their first hour: each mistake gets one line, at once, and leaves nothing.

A row of the table is a command, typed in a folder that holds the files of `place`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml

from launch.cli.main import run_command
from tests.support.scripted_world import world_problems, write_problems
from workflows.scoring.asking import config_of

SCRIPTED = {role: {"kind": "scripted", "model": f"tests.scripted_models:{role}"}
            for role in ("policy", "completer", "rationale")}  # fmt: skip
BUILD: Mapping[str, Any] = {"run": "r", "problems": "own.jsonl", "models": SCRIPTED}
TRAINING = "name: t\nrun: r\nbase: ./base\n"


@dataclass(frozen=True, kw_only=True)
class Mistake:
    """What somebody did, and the words that must be in the line."""

    did: str
    words: tuple[str, ...]
    build: Mapping[str, Any] = field(default_factory=dict)
    """Settings of `own.yaml` beside those of `BUILD`."""
    text: str | None = None
    """The whole of `own.yaml` instead."""
    files: Mapping[str, bytes] = field(default_factory=dict)
    environment: Mapping[str, str] = field(default_factory=dict)
    says: tuple[str, ...] = ()
    """Verbs that say the same of the configuration, beside the one in `did`."""


MISTAKES = {
    "a bucket without its slashes": Mistake(
        did="build own.yaml",
        build={"store": "s3:bucket/prefix"},
        words=("did you mean s3://bucket/prefix?",),
    ),
    "a bucket with one slash": Mistake(
        did="status r",
        environment={"STEPMILL_STORE": "s3:/bucket/x"},
        words=("did you mean s3://bucket/x?",),
    ),
    "the same as an option": Mistake(
        did="build own.yaml --store s3:bucket", words=("did you mean s3://bucket?",)
    ),
    "problems without their slashes": Mistake(
        did="build own.yaml",
        build={"problems": "s3:bucket/x.jsonl"},
        words=("did you mean s3://bucket/x.jsonl?",),
    ),
    "an empty store": Mistake(
        did="build own.yaml", build={"store": ""}, words=("store: empty; name a folder",)
    ),
    "a key twice": Mistake(
        did="build own.yaml",
        text="run: a\nshard_size: 1\nproblems: p\nshard_size: 2\n",
        words=("the key `shard_size` is given twice: remove one (line 4)",),
    ),
    "a tab in YAML": Mistake(
        did="build own.yaml",
        text="run: r\nmodels:\n\tpolicy: x\n",
        words=("not valid YAML (line 3): found character '\\t'", "indent with spaces"),
    ),
    "a bracket that stays open": Mistake(
        did="build own.yaml",
        text="run: [\nproblems: x\n",
        words=("not valid YAML (line", "expected ',' or ']'"),
    ),
    "a training's file to build": Mistake(
        did="build own.yaml",
        text=TRAINING,
        words=("is the file of a training: stepmill train own.yaml",),
    ),
    "a build's file to train": Mistake(
        did="train own.yaml", words=("is the file of a build: stepmill build own.yaml",)
    ),
    "a verifier's settings to build": Mistake(
        did="build own.yaml",
        text="verify: {mode: full}\n",
        words=("stepmill score MODEL FILE --config own.yaml",),
    ),
    "a run's name with a blank": Mistake(
        did="build own.yaml",
        build={"run": "my run"},
        words=("`run`: run name 'my run': use letters, digits, dot, dash and underscore",),
    ),
    "a run's name that is a path": Mistake(
        did="build own.yaml --run ../x", words=("use letters, digits, dot, dash and underscore",)
    ),
}


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with problems; nothing else is set."""
    monkeypatch.chdir(tmp_path)
    for name in ("STEPMILL_STORE", "RAY_ADDRESS"):
        monkeypatch.delenv(name, raising=False)
    write_problems(world_problems(4), tmp_path / "own.jsonl")
    return tmp_path


@pytest.mark.parametrize("row", MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_gets_one_line_at_once_and_leaves_nothing(
    row: Mistake, place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (place / "own.yaml").write_text(row.text or yaml.safe_dump({**BUILD, **row.build}))
    for name, data in row.files.items():
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        (place / name).write_bytes(data)
    for name, value in row.environment.items():
        monkeypatch.setenv(name, value)
    before = files_below(place)
    assert run_command(row.did.split()) == 2
    shown = capsys.readouterr().err
    assert shown.startswith("stepmill: ")
    assert shown.count("\n") == 1
    for words in row.words:
        assert words in shown
    assert files_below(place) == before


def files_below(folder: Path) -> set[Path]:
    return {path for path in folder.rglob("*") if path.is_file()}


TRAIN = {"run": "r", "base": "./base"}
DOES = {
    "build own.yaml": "launch.verbs.runs.build.build_run",
    "train own.yaml": "launch.verbs.models.train.train_model",
    "score model own.jsonl --config own.yaml": "launch.verbs.models.score.score_file",
    "evaluate model own.jsonl --config own.yaml": "launch.verbs.models.evaluate.evaluate_file",
}
"""Verb with a configuration -> what does its work."""


@pytest.mark.parametrize("verb", DOES)
@pytest.mark.parametrize(
    ("option", "named", "environment", "taken"),
    [
        ("file:by_option", "file:by_file", "file:by_environment", "by_option"),
        ("file:by_option", None, "file:by_environment", "by_option"),
        (None, "file:by_file", "file:by_environment", "by_file"),
        (None, None, "file:by_environment", "by_environment"),
        (None, None, "", ".stepmill/store"),
    ],
)
def test_the_store_is_the_options_then_the_files_then_the_environments(
    option: str | None,
    named: str | None,
    environment: str,
    taken: str,
    verb: str,
    place: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen: list[Any] = []
    monkeypatch.setattr(DOES[verb], lambda config, *others: seen.append(config))
    monkeypatch.setenv("STEPMILL_STORE", environment)
    settings = {"build": BUILD, "train": TRAIN}.get(verb.split()[0], {})
    store = {} if named is None else {"store": named}
    (place / "own.yaml").write_text(yaml.safe_dump({**settings, **store}))
    assert run_command([*verb.split(), *(["--store", option] if option else [])]) == 0
    (config,) = seen
    if verb.startswith("evaluate"):
        config = config_of(config.verifiers[0].model, config.file, config.settings, config.asked)
    assert config.store == (place / taken).as_uri()


@pytest.mark.parametrize("verb", ["status r", "resume r", "sweep r", "show r", "why r p#0"])
def test_verbs_without_a_configuration_know_the_same_store(
    verb: str, place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for environment, option, taken in (
        ("", [], ".stepmill/store"),
        ("file:there", [], "there"),
        ("file:there", ["--store", "here"], "here"),
    ):
        monkeypatch.setenv("STEPMILL_STORE", environment)
        assert run_command([*verb.split(), *option]) == 2
        assert f"no run 'r' in {(place / taken).as_uri()}" in capsys.readouterr().err
