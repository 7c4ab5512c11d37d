"""Configuration files: what is read, and the one line that each mistake gets."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from launch.config import load
from storage.errors import ConfigurationError
from workflows.builds.configuration import check_settings
from workflows.runs.reading import read, store_url

CONFIGS = Path(__file__).parents[3] / "configs"

MODEL = {"kind": "scripted", "model": "m"}
MINIMAL: dict[str, Any] = {
    "run": "r",
    "problems": "p.jsonl",
    "models": {"policy": MODEL, "completer": MODEL, "rationale": MODEL},
}


def write(folder: Path, raw: object) -> Path:
    file = folder / "build.yaml"
    file.write_text(raw if isinstance(raw, str) else yaml.safe_dump(raw))
    return file


def test_every_shipped_configuration_is_valid() -> None:
    files = [file for file in CONFIGS.rglob("*.yaml") if "models:" in file.read_text()]
    assert files
    for file in files:
        load(file)


def test_the_papers_numbers_are_the_defaults(tmp_path: Path) -> None:
    paper = load(CONFIGS / "genprm.yaml")
    assert paper.stages == load(write(tmp_path, MINIMAL)).stages
    assert (paper.stages.sample.cap, paper.stages.label.threshold) == (2048, 0.8)
    estimate = paper.stages.estimate
    assert (estimate.k_hard, estimate.k_medium, estimate.k_easy) == (128, 64, 32)


def test_paths_are_relative_to_the_file_and_overrides_win(tmp_path: Path) -> None:
    vllm = {"kind": "vllm", "model": "./policy"}
    raw = MINIMAL | {"models": MINIMAL["models"] | {"policy": vllm}}
    config = load(write(tmp_path, raw), run="other", limit=None)
    assert config.problems == str(tmp_path / "p.jsonl")
    assert config.engine("policy").model == str(tmp_path / "policy")
    assert config.run == "other"
    hub = load(write(tmp_path, raw | {"models": MINIMAL["models"]})).engine("policy").model
    assert hub == "m"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        pytest.param({"colour": 1}, "unknown key `colour`", id="unknown key"),
        pytest.param(
            {"stages": {"sample": {"capp": 1}}}, "unknown key `stages.sample.capp`", id="nested"
        ),
        pytest.param({"sandbox": {"limits": {"wall": 1}}}, "`sandbox.limits.wall`", id="limits"),
        pytest.param({"stages": {"sample": {"cap": 0}}}, "greater than or equal to 1", id="bound"),
        pytest.param({"stages": {"label": {"form": "odd"}}}, "`stages.label.form`", id="choice"),
        pytest.param(
            {"models": MINIMAL["models"] | {"policy": MODEL | {"kind": "vlm"}}},
            "`models.policy.kind`",
            id="engine",
        ),
        pytest.param(
            {"models": MINIMAL["models"] | {"policy": MODEL | {"part": 0}}},
            "`models.policy.part`",
            id="no samples at once",
        ),
        pytest.param({"sandbox": {"slots": -1}}, "`sandbox.slots`", id="no slots"),
        pytest.param(
            {"sandbox": {"limits": {"wall_s": 500}}}, "above longest_wall_s", id="limits of limits"
        ),
        pytest.param({"cluster": {"engine_slots": 0}}, "`cluster.engine_slots`", id="no engines"),
        pytest.param(
            {"stages": {"label": {"threshold": float("nan")}}},
            "`stages.label.threshold`",
            id="not a number",
        ),
        pytest.param({"shard_size": "many"}, "`shard_size`", id="type"),
        pytest.param(
            {"shard_size": True}, "`shard_size`: must be a number, not true", id="truth for number"
        ),
        pytest.param(
            {"cluster": {"ask": {"sandbox": True}}},
            "`cluster.ask.sandbox`: must be a number, not true",
            id="truth for number in a mapping",
        ),
        pytest.param({"run": "a/b"}, "`run`", id="run name"),
        pytest.param({"format": 2}, "`format`", id="newer format"),
    ],
)
def test_a_wrong_key_is_named_with_what_to_change(
    tmp_path: Path, change: dict[str, Any], said: str
) -> None:
    with pytest.raises(ConfigurationError, match=said) as error:
        load(write(tmp_path, MINIMAL | change))
    assert "\n" not in str(error.value)


def test_a_home_folder_is_found_where_the_file_is_read(tmp_path: Path) -> None:
    vllm = {"kind": "vllm", "model": "~/models/x"}
    config = load(write(tmp_path, MINIMAL | {"models": MINIMAL["models"] | {"policy": vllm}}))
    assert config.engine("policy").model == str(Path.home() / "models" / "x")


def test_a_missing_field_is_named(tmp_path: Path) -> None:
    raw = {key: value for key, value in MINIMAL.items() if key != "models"}
    with pytest.raises(ConfigurationError, match="`models` is missing"):
        load(write(tmp_path, raw))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: [", "not valid YAML"),
        ("a: 1\nb: {c: 1, d: 2, c: 3}", r"the key `c` is given twice: remove one \(line 2\)"),
        ("- 1", "must be a mapping"),
        ("", "must be a mapping"),
    ],
)
def test_a_file_that_is_no_configuration_is_said_so(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(ConfigurationError, match=said):
        load(write(tmp_path, text))


def test_merged_mappings_may_be_overridden(tmp_path: Path) -> None:
    file = tmp_path / "merged.yaml"
    file.write_text("a: &a {x: 1, y: 2}\nb: {<<: *a, y: 3}\n")
    assert read(file)["b"] == {"x": 1, "y": 3}


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="no such file"):
        load(tmp_path / "absent.yaml")


def test_a_store_may_be_a_folder_or_a_url(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert store_url("file:store") == store_url("store") == f"file://{tmp_path}/store"
    assert store_url("s3://bucket/x") == "s3://bucket/x"


@pytest.mark.parametrize(
    "value", ["sk-abcdef123456", "hf_AbCdEf", ["FIRST_KEY", "sk-abcdef123456"]]
)
def test_a_key_in_the_place_of_a_variables_name_is_refused_and_not_shown(
    value: object, tmp_path: Path
) -> None:
    model = {"kind": "chat", "model": "m", "url": "http://x", "api_key_env": value}
    with pytest.raises(
        ConfigurationError, match="must be the name of an environment var"
    ) as refused:
        load(write(tmp_path, MINIMAL | {"models": MINIMAL["models"] | {"policy": model}}))
    assert "abcdef" not in str(refused.value).lower()
    assert "`models.policy.api_key_env" in str(refused.value)
    assert "\n" not in str(refused.value)


def test_several_keys_are_named_in_a_list(tmp_path: Path) -> None:
    model = {"kind": "chat", "model": "m", "url": "http://x", "api_key_env": ["A_KEY", "B_KEY"]}
    config = load(write(tmp_path, MINIMAL | {"models": MINIMAL["models"] | {"policy": model}}))
    assert config.engine("policy").api_key_env == ("A_KEY", "B_KEY")


def test_the_quickstart_goes_without_a_writer_as_its_comment_says(tmp_path: Path) -> None:
    text = (CONFIGS / "quickstart_chat.yaml").read_text()
    (road,) = [line.strip("# ") for line in text.splitlines() if "road: [" in line]
    raw = yaml.safe_load(text)
    del raw["models"]["rationale"]
    raw["stages"] |= yaml.safe_load(road)
    config = load(write(tmp_path, raw))
    assert set(config.engines) == {"policy", "completer"}
    check_settings(config.stages)
