"""`stepmill score` with wrong input: one line, exit code 2, and what was done before is kept."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from launch.cli.main import run_command
from storage.errors import ConfigurationError
from workflows.scoring.asking import config_of

MODEL = Path(__file__).parents[3] / "demo" / "models" / "rationale"
GOOD = {"id": "a", "problem": "What is 2 + 3?", "steps": ["2 + 3 = 5."], "label": -1}


def write(folder: Path, *rows: Any) -> str:
    file = folder / "responses.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(file)


def without(name: str) -> dict[str, Any]:
    return {key: value for key, value in GOOD.items() if key != name}


@pytest.mark.parametrize(
    ("row", "said"),
    [
        pytest.param(without("steps"), "`steps` is missing", id="steps missing"),
        pytest.param(GOOD | {"steps": []}, "`steps` is an empty list", id="empty list of steps"),
        pytest.param(without("steps") | {"solution": " "}, "is empty", id="empty solution"),
        pytest.param({"problem": "2 + 3?", "answer": "5"}, "no file of responses", id="answers"),
        pytest.param(GOOD | {"label": 1}, "`label` must be -1 or the index", id="label"),
    ],
)  # fmt: skip
def test_a_wrong_row_is_one_line_and_exit_code_2(
    row: Any,
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    refused(["score", str(MODEL), write(tmp_path, GOOD, row)], said, tmp_path, capsys)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        pytest.param(["absent.jsonl"], "absent.jsonl: no such file of responses", id="no file"),
        pytest.param(["--mode", "cots"], "`verify.mode`: input should be 'full', 'cot'", id="mode"),
        pytest.param(["--set", "verify.rounds=0"], "`verify.rounds`: input should be", id="set"),
        pytest.param(["--set", "verify.round=1"], "unknown key `verify.round`", id="unknown"),
        pytest.param(["--set", "verify.rounds"], "write KEY=VALUE", id="no value"),
        pytest.param(["--n", "0"], "`verify.histories`: input should be greater", id="no history"),
        pytest.param(["--config", "no.yaml"], "no.yaml: no such file", id="no settings"),
        pytest.param(["--store", "ftp://x"], "use file:///folder or s3://", id="store"),
        pytest.param(["--name", "a/b"], "`run`", id="name"),
        pytest.param(["--out", "responses.jsonl"], "is a file; name a folder", id="out"),
    ],
)
def test_a_wrong_call_is_one_line_and_exit_code_2(
    change: list[str],
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    file = write(tmp_path, GOOD)
    arguments = [file, *change] if change[0].startswith("--") else change
    refused(["score", str(MODEL), *arguments, "--limit", "1"], said, tmp_path, capsys)


@pytest.mark.parametrize(
    ("model", "said"),
    [
        pytest.param("absent", "model folder", id="no folder"),
        pytest.param("empty", "has no config.json", id="no model"),
        pytest.param("wordless", "no single tokens for Yes and No", id="no Yes and No"),
    ],
)
def test_a_model_that_is_no_verifier_is_one_line_and_exit_code_2(
    model: str,
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    if model == "wordless":
        spell_letters(tmp_path / "wordless")
    file = write(tmp_path, GOOD)
    arguments = ["score", str(tmp_path / model), file, "--mode", "cot"]  # needs no sandbox
    refused(arguments, said, tmp_path, capsys)


def test_what_was_read_is_said(tmp_path: Path) -> None:
    whole = {"problem": "2 + 3?", "solution": "It is 5."}
    file = write(tmp_path, GOOD | {"steps": ["a", "b", "c"]}, whole, whole)
    for asked, said in (({}, "3 responses with 5 steps; 2 have a single step"),
                        ({"limit": 1}, "1 responses with 3 steps")):  # fmt: skip
        config = config_of("org/model", Path(file), asked=asked)
        assert config.read_input().said == [f"{file}: {said}"]


def refused(
    arguments: list[str], said: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = {file: file.read_bytes() for file in folder.rglob("*") if file.is_file()}
    assert run_command(arguments) == 2
    shown = capsys.readouterr().err
    assert said in shown
    assert shown.count("\n") == 1
    assert "Traceback" not in shown
    assert not list(folder.glob("**/spec.json"))
    assert all(file.read_bytes() == content for file, content in before.items())


def spell_letters(folder: Path) -> None:
    """A model folder whose tokenizer knows letters and no words."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    from demo.tokenizer import CHAT_TEMPLATE

    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE({letter: n for n, letter in enumerate(letters)}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    wrapped = PreTrainedTokenizerFast(tokenizer_object=tokenizer)
    wrapped.chat_template = CHAT_TEMPLATE
    wrapped.save_pretrained(folder)
    (folder / "config.json").write_text('{"model_type": "llama"}')
    (folder / "model.safetensors").write_bytes(b"")


def test_what_is_asked_wins_over_the_settings_and_those_over_the_defaults(tmp_path: Path) -> None:
    settings = tmp_path / "score.yaml"
    settings.write_text(
        "verify: {mode: cot, histories: 4}\nsandbox: {slots: 3}\nmodels: {verifier: {part: 2}}\n"
    )
    config = config_of("org/name", tmp_path / "f.jsonl", settings, {"verify.histories": 8})
    assert (config.verify.mode, config.verify.histories) == ("cot", 8)
    assert (config.sandbox.slots, config.models.verifier.part) == (3, 2)
    assert config.models.verifier.model == "org/name"
    assert config.run == "score-name-f-cot-8"


def test_a_url_makes_it_a_server(tmp_path: Path) -> None:
    config = config_of("m", tmp_path / "f.jsonl", None, {"models.verifier.url": "http://h:1/v1"})
    assert config.models.verifier.kind == "endpoint"


def test_an_unknown_setting_is_named(tmp_path: Path) -> None:
    settings = tmp_path / "score.yaml"
    settings.write_text("verify: {modes: cot}\n")
    with pytest.raises(ConfigurationError, match=r"unknown key `verify.modes`"):
        config_of("m", tmp_path / "f.jsonl", settings)
