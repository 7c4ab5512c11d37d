"""What people try in their first hour: each mistake gets one line, at once, and leaves nothing.

A row of the table is a command, typed in a folder that holds problems and a configuration. What
`build` says of it, `doctor` says too.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml

from launch.cli.main import run_command
from tests.unit.launch.first_hour.place import BUILD, SCRIPTED, refused, write_build
from workflows.scoring.asking import config_of

ROOT = Path(__file__).parents[4]
MODEL, CONFIGS = ROOT / "demo/models/policy", ROOT / "configs"
TRAINING = "name: t\nrun: r\nbase: ./base\n"
SERVER = {"kind": "endpoint", "model": "m", "url": "http://127.0.0.1:9/v1"}


def policy(**settings: Any) -> dict[str, Any]:
    return {"models": SCRIPTED | {"policy": settings}}


@dataclass(frozen=True, kw_only=True)
class Mistake:
    """What somebody did, and the words that must be in the line."""

    did: str
    words: tuple[str, ...]
    build: Mapping[str, Any] = field(default_factory=dict)
    """Settings of `own.yaml` beside the usual ones."""
    text: str | None = None
    """The whole of `own.yaml` instead."""
    environment: Mapping[str, str] = field(default_factory=dict)
    model: bool = False
    """Whether there is a model in the folder `m`."""
    never: str = "Traceback"
    """What must not be shown."""


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
    "a threshold in percent": Mistake(
        did="build own.yaml",
        build={"stages": {"label": {"threshold": 80}}},
        words=("`label.threshold: 80` under `form: ratio`: set it between 0 and 1",),
    ),
    "hard and easy the wrong way round": Mistake(
        did="build own.yaml",
        build={"stages": {"estimate": {"hard_below": 0.9, "easy_from": 0.1}}},
        words=("`estimate.hard_below: 0.9` lies above `estimate.easy_from: 0.1`: lower one",),
    ),
    "a first round above the cap": Mistake(
        did="build own.yaml",
        build={"stages": {"sample": {"first_round": 100, "cap": 32}}},
        words=("`sample.first_round: 100` is more than `sample.cap: 32`", "lower it"),
    ),
    "a precision that nobody has": Mistake(
        did="build own.yaml",
        build=policy(model="./m", dtype="float31"),
        words=("`models.policy.dtype`: input should be 'auto', 'half'",),
    ),
    "an argument that the engine does not know": Mistake(
        did="build own.yaml",
        build=policy(model="./m", options={"max_num_seq": 1}),
        model=True,
        words=("models.policy: `options.max_num_seq` is no argument", "or write max_num_seqs"),
    ),
    "more GPUs than there are": Mistake(
        did="build own.yaml",
        build=policy(model="./m", tensor_parallel=4),
        model=True,
        words=("models.policy:", "needs 4 GPUs, this machine has 0", "--address"),
    ),
    "a folder that is no model": Mistake(
        did="build own.yaml",
        build=policy(model="./none"),
        words=("models.policy:", "none does not exist"),
    ),
    "the key in the place of its variable's name": Mistake(
        did="build own.yaml",
        build=policy(**SERVER, api_key_env="sk-abcdef123"),
        words=("`models.policy.api_key_env`: must be the name of an environment variable",),
        never="abcdef",
    ),
    "a variable that is not set": Mistake(
        did="build own.yaml",
        build=policy(**SERVER, api_key_env="NO_SUCH_KEY"),
        words=("models.policy: environment variable NO_SUCH_KEY is not set: export it",),
    ),
    "a server that is nobody's": Mistake(
        did="build own.yaml",
        build=policy(**SERVER),
        words=("models.policy: http://127.0.0.1:9/v1 failed", "start that server, or correct"),
    ),
    "a chat server that is nobody's": Mistake(
        did="build own.yaml",
        build=policy(**SERVER | {"kind": "chat"}),
        words=("models.policy: http://127.0.0.1:9/v1 failed", "start that server, or correct"),
    ),
    "a head that is nobody's": Mistake(
        did="build own.yaml --address 127.0.0.1:9",
        words=("no Ray head answers at 127.0.0.1:9: Connection refused", "correct --address"),
    ),
    "the address of jobs": Mistake(
        did="build own.yaml --address http://127.0.0.1:8265",
        words=("is the address of jobs: `stepmill submit CONFIG --address http://127.0.0.1:8265`",),
    ),
    "the head's address to submit": Mistake(
        did="submit own.yaml --address 127.0.0.1:6379",
        words=("jobs go to http://HOST:8265",),
    ),
    "a host alone": Mistake(
        did="build own.yaml --address head", words=("write HOST:PORT of a head, or auto",)
    ),
    "a run to derive from that is not there": Mistake(
        did="build own.yaml --from none", words=("no run 'none' in file://",)
    ),
    "no configuration": Mistake(did="build", words=("Missing argument 'CONFIG'",)),
    "a configuration that is not there": Mistake(
        did="build none.yaml", words=("none.yaml: no such file",)
    ),
    "an empty file": Mistake(
        did="build own.yaml", text="", words=("own.yaml: must be a mapping of settings",)
    ),
    "an unknown key": Mistake(
        did="build own.yaml",
        build={"stages": {"sample": {"capp": 1}}},
        words=("unknown key `stages.sample.capp`: remove it or correct its name",),
    ),
    "no problems": Mistake(
        did="build own.yaml", text="run: r\nmodels: {}\n", words=("`problems` is missing: add it",)
    ),
    "a word for a number": Mistake(
        did="build own.yaml", build={"shard_size": "many"}, words=("`shard_size`: input should be",)
    ),
    "no problems at all": Mistake(
        did="build own.yaml --limit 0", words=("`limit`: input should be greater than or equal",)
    ),
    "shards of none": Mistake(
        did="build own.yaml",
        build={"shard_size": 0},
        words=("`shard_size`: input",),
    ),
    "a role without a model": Mistake(
        did="build own.yaml",
        build={"models": {"policy": SCRIPTED["policy"]}},
        words=("`models.completer` is missing: add it, or leave estimate out",),
    ),
    "a store of another cloud": Mistake(
        did="build own.yaml --store gs://bucket", words=("use file:///folder or s3://bucket",)
    ),
    "a store on the web": Mistake(
        did="build own.yaml --store https://host/x", words=("use file:///folder or s3://bucket",)
    ),
    "an unknown budget": Mistake(
        did="build own.yaml",
        build={"stages": {"estimate": {"mc_budget": "some"}}},
        words=("`stages.estimate.mc_budget`: input should be 'exact'",),
    ),
    "a stage misspelt": Mistake(
        did="build own.yaml", build={"stages": {"road": ["sampel"]}}, words=("sampel",)
    ),
    "stages in another order": Mistake(
        did="build own.yaml",
        build={"stages": {"road": ["estimate", "sample"]}},
        words=("estimate", "sample"),
    ),
    "a bucket without credentials": Mistake(
        did="build own.yaml",
        build={"store": "s3://bucket/x"},
        words=("store: s3://bucket/x: no credentials; set AWS_ACCESS_KEY_ID",),
    ),
    "an unknown verb": Mistake(did="biuld own.yaml", words=("No such command 'biuld'",)),
    "an unknown option": Mistake(did="status r --wathc", words=("No such option: --wathc",)),
    "an unknown run": Mistake(did="audit none", words=("no run 'none' in file://",)),
    "a training without a run": Mistake(
        did="train own.yaml",
        text="base: ./base\n",
        words=("own.yaml: name one of `run`",),
    ),
    "a setting without its value": Mistake(
        did="score m own.jsonl --set verify.rounds", words=("write KEY=VALUE",)
    ),
    "problems without steps to score": Mistake(
        did="score m own.jsonl --mode cot --set models.verifier.kind=scripted", words=("steps",)
    ),
    "an unknown mode": Mistake(
        did="evaluate m own.jsonl --mode fast", words=("choose one of full, cot, code",)
    ),
    "an option of a build without one": Mistake(
        did="doctor --limit 3", words=("--limit is about a build: name its CONFIG as well",)
    ),
    "a script that is not there": Mistake(
        did="exec nofile.py", words=("stepmill: nofile.py: No such file or directory\n",)
    ),
}


def typed(row: Mistake, place: Path, patched: pytest.MonkeyPatch) -> None:
    write_build(place, **row.build)
    if row.text is not None:
        (place / "own.yaml").write_text(row.text)
    if row.model:
        (place / "m").symlink_to(MODEL)
    for name, value in row.environment.items():
        patched.setenv(name, value)


@pytest.mark.parametrize("row", MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_gets_one_line_at_once_and_leaves_nothing(
    row: Mistake, place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    typed(row, place, monkeypatch)
    shown = refused(row.did, place, capsys)
    assert shown.count("\n") == 1
    for words in row.words:
        assert words in shown
    assert row.never not in shown


@pytest.mark.parametrize(
    "name", [name for name, row in MISTAKES.items() if row.did.startswith("build ")]
)
def test_doctor_finds_what_build_would(
    name: str, place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    row = MISTAKES[name]
    typed(row, place, monkeypatch)
    assert run_command([*row.did.replace("build", "doctor", 1).split(), "--json"]) == 2
    shown = capsys.readouterr()
    found = json.loads(shown.out) if shown.out else []
    said = [f"{row['what']}: {row['said']}; {row['remedy']}" for row in found if not row["ok"]]
    line = shown.err or "\n".join(said)
    for words in row.words:
        assert words in line
    assert row.never not in shown.out + shown.err


def test_the_papers_configuration_as_it_is_says_all_that_is_missing(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shown = refused(f"build {CONFIGS}/genprm.yaml", place, capsys)
    for words in (
        "store: s3://your-bucket/stepmill: no credentials",
        "problems: ",
        "models.policy: Qwen/Qwen2.5-7B-Instruct needs 1 GPU, this machine has 0",
        "models.rationale: Qwen/QwQ-32B needs 4 GPUs",
    ):
        assert words in shown
    assert shown.count("\n") == 6


def test_a_pilot_that_a_build_would_make_first_is_said_before(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_build(place, stages={"label": {"estimate": "posterior"}})
    assert run_command(["doctor", "own.yaml", "--json"]) == 0
    (found,) = (one for one in json.loads(capsys.readouterr().out) if one["what"] == "run")
    assert found["said"].startswith("r is new, of 1 shard; its pilot pilot-")
    assert found["said"].endswith(" is made first (or name one: estimate.pilot)")


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
