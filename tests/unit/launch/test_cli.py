"""The command line: every error is one message and an exit code, never a traceback."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from launch.cli.main import run_command

CONFIGS = Path(__file__).parents[3] / "configs"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        pytest.param(["build", "absent.yaml"], "absent.yaml: no such file", id="no config"),
        pytest.param(["status", "absent"], "no run 'absent'", id="no run"),
        pytest.param(["audit", "absent"], "no run 'absent'", id="audit without a run"),
        pytest.param(["resume", "absent"], "no run 'absent'", id="resume without a run"),
        pytest.param(["download", "absent", "x"], "no run 'absent'", id="download without a run"),
        pytest.param(["status", "a/b"], "run name 'a/b'", id="bad run name"),
        pytest.param(
            ["status", "r", "--store", "ftp://x"], "use file:///folder or s3://", id="bad store"
        ),
        pytest.param(["exec", "absent.py"], "absent.py", id="no script"),
    ],
)
def test_a_users_error_is_one_line_and_exit_code_2(
    arguments: list[str],
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run_command(arguments) == 2
    shown = capsys.readouterr().err
    assert said in shown
    assert shown.count("\n") == 1
    assert "Traceback" not in shown
    assert not list(tmp_path.glob("**/spec.json"))


@pytest.mark.parametrize("arguments", [["frobnicate"], ["build"], ["status", "r", "--colour"]])
def test_a_wrong_call_is_exit_code_2(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_command(arguments) == 2


def test_the_papers_configuration_without_gpus_says_all_that_is_missing_in_plain_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert run_command(["build", str(CONFIGS / "genprm.yaml"), "--store", "file:store"]) == 2
    shown = capsys.readouterr().err
    for needed in (
        "math_train.jsonl: no such file of problems",
        "Qwen/Qwen2.5-7B-Instruct needs 1 GPU, this machine has 0",
        "Qwen/QwQ-32B needs 4 GPUs",
    ):
        assert needed in shown
    assert not (tmp_path / "store").exists() or not list((tmp_path / "store").glob("runs/*"))


def test_doctor_as_json_lists_findings(capsys: pytest.CaptureFixture[str]) -> None:
    run_command(["doctor", "--json"])
    findings = json.loads(capsys.readouterr().out)
    assert {"disk", "packages", "engine", "gpu", "ray", "store", "sandbox"} <= {
        f["what"] for f in findings
    }
    assert all(f["remedy"] for f in findings if not f["ok"])


def test_ctrl_c_anywhere_says_how_to_continue(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("launch.config.load", interrupted)
    assert run_command(["build", "my build.yaml"]) == 130
    said = capsys.readouterr().err
    assert said == (
        "stepmill: interrupted; the same command continues: stepmill build 'my build.yaml'\n"
    )


def test_the_command_line_itself_waits_for_no_arrow() -> None:
    assert imported("launch.cli.main", "pyarrow", "ray", "torch") == "set()\n"


@pytest.mark.parametrize("verb", ["runs.status", "runs.download", "looking.paths", "models.train"])
def test_no_verb_waits_for_the_hubs_client_before_it_needs_it(verb: str) -> None:
    assert imported(f"launch.verbs.{verb}", "huggingface_hub", "torch") == "set()\n"


def imported(module: str, *heavy: str) -> str:
    asked = f"import sys, {module}; print({set(heavy)} & sys.modules.keys())"
    done = subprocess.run([sys.executable, "-c", asked], capture_output=True, text=True, check=True)
    return done.stdout
