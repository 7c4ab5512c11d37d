"""The verb `plan`: what it prints, and what it refuses."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from launch.cli.main import run_command
from launch.shown.plans import planned_table, shown
from tests.support.here import work_here
from tests.support.scripted_build import CONFIG, configure
from workflows.planning.against import Compared

CHAT = {"kind": "chat", "model": "m", "url": "http://127.0.0.1:9/v1"}
LOCAL = {"kind": "vllm", "model": "org/some-7B"}


@pytest.fixture
def build(tmp_path: Path) -> str:
    models = {"policy": CHAT, "completer": LOCAL, "rationale": LOCAL}
    configure(tmp_path, models=models, prices={"gpu_hour": 2, "tokens": {"policy": 1.5}})
    return str(tmp_path / "build.yaml")


def planned(capsys: pytest.CaptureFixture[str], *words: str) -> dict[str, Any]:
    assert run_command(["plan", *words, "--json"]) == 0
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def test_it_prints_ranges_in_the_order_of_the_road(
    build: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store = f"file:{tmp_path}/store"
    made = planned(capsys, build, "--store", store, "--gpu", "H100")
    roles = list(dict.fromkeys(figure["role"] for figure in made["figures"]))
    assert roles == ["policy", "completer", "rationale", ""]
    amounts = {(f["role"], f["name"]): f for f in made["figures"]}
    tokens, money = amounts["policy", "tokens"], amounts["policy", "money"]
    assert money["high"] == pytest.approx(tokens["high"] * 1.5e-6, rel=0.001)
    assert ("policy", "gpu_hours") not in amounts, "a server's GPUs are nobody's here"
    assert all(figure["low"] <= figure["high"] for figure in made["figures"])
    assert (tmp_path / "store/runs/r/plans/000000.json").is_file()


def test_it_fits_a_page_of_paper_and_says_what_it_goes_by(
    build: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_command(["plan", build, "--store", f"file:{tmp_path}/s", "--no-keep"]) == 0
    said = capsys.readouterr().out
    assert "from settings and published figures" in said
    assert "--gpu names one" in " ".join(said.split())
    assert not (tmp_path / "s/runs/r/plans").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--from", "nobody"], "no run 'nobody' in"),
        (["--gpu", "T4"], "--gpu T4: no throughput is known of it, only of H100"),
        (["--limit", "0"], "limit"),
    ],
)
def test_what_it_cannot_go_by_is_one_line(
    build: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    words: list[str],
    message: str,
) -> None:
    assert run_command(["plan", build, "--store", f"file:{tmp_path}/s", *words]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert message in line


def test_planned_and_actual_fit_eighty_columns() -> None:
    rows = [
        Compared("completer", "prompt_tokens", 1.5e6, 3.2e6, None, 2_123_456, True),
        Compared("", "money", 1200.0, None, None, 1500.5, None),
    ]
    console = Console(width=80, record=True)
    console.print(planned_table(rows, "USD"))
    said = console.export_text()
    assert "1,500,000 to 3,200,000" in said
    assert "1,200.00 USD to ?" in said
    assert "…" not in said


@pytest.mark.parametrize(
    ("name", "amount", "said"),
    [
        ("tokens", 12_345.6, "12,346"), ("gpu_hours", 0.01234, "0.0123"), ("kept", 7.0, "7"),
        ("bytes", 4_500_000, "4.5 MB"), ("bytes", 0, "0 bytes"), ("money", 12.5, "12.50 EUR"),
        ("hours", None, "?"),
    ],
)  # fmt: skip
def test_amounts_are_as_long_as_they_need_to_be(name: str, amount: float, said: str) -> None:
    assert shown(name, amount, "EUR") == said


def test_a_build_at_its_ceiling_ends_with_exit_code_two_and_goes_on_with_a_raised_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    work_here(monkeypatch)
    models = {
        role: {"kind": "scripted", "model": f"tests.scripted_models:{role}"}
        for role in ("policy", "completer", "rationale")
    }
    stages = CONFIG["stages"] | {"rationalize": {"execute": False}}
    store = f"file:{tmp_path}/store"

    def built(**limits: int) -> tuple[int, str]:
        configure(tmp_path, models=models, stages=stages, limits=limits)
        code = run_command(["build", str(tmp_path / "build.yaml"), "--store", store])
        return code, capsys.readouterr().err

    code, said = built(tokens=20_000)
    line = said.strip().splitlines()[-1]
    assert code == 2
    assert line.startswith("stepmill: limits.tokens: ")
    assert "Raise the limit in the configuration, and the same command goes on from here" in line
    assert run_command(["status", "r", "--store", store, "--json"]) == 0
    status = json.loads(capsys.readouterr().out)
    assert line.removeprefix("stepmill: ") == status["stopped"]
    assert sum(stage["counts"].get("tokens", 0) for stage in status["stages"]) > 0

    assert built(tokens=10**9)[0] == 0
    assert run_command(["status", "r", "--store", store, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["finished"]
