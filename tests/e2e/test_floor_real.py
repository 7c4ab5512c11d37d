"""The floor with real engines: a template that can't work, and a policy that never boxes."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from benchmarks.smollm2 import smollm2
from tests.support.commands import ROOT, stepmill
from tests.support.scripted_world import world_problems, write_problems

LLAMA_3 = (
    "{%- for turn in messages %}"
    "{{- '<|start_header_id|>' + turn['role'] + '<|end_header_id|>\\n\\n' }}"
    "{{- turn['content'] + '<|eot_id|>' }}{%- endfor %}"
    "{%- if add_generation_prompt %}"
    "{{- '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}{%- endif %}"
)
"""Of which the demo's policy has never seen a word."""
SAMPLE = {"first_round": 8, "round": 8, "cap": 512, "max_tokens": 192}

pytestmark = [pytest.mark.engine, pytest.mark.container, pytest.mark.slow, pytest.mark.timeout(900)]


def build(folder: Path, policy: dict[str, Any], **change: Any) -> Path:
    config = yaml.safe_load((ROOT / "configs/demo.yaml").read_text())
    config |= {"run": "r", "problems": "problems.jsonl", "shard_size": 8, **change}
    for model in config["models"].values():
        model["model"] = str((ROOT / "configs" / model["model"]).resolve())
    config["models"]["policy"] = policy
    config["stages"]["sample"] = SAMPLE
    config["cluster"]["engine_slots"] = 1
    (folder / "build.yaml").write_text(yaml.safe_dump(config))
    return folder


def stopped(folder: Path, flaws: set[str]) -> subprocess.CompletedProcess[str]:
    """Build; it stops in stage sample, with three texts, long before its budget is burnt."""
    ended = stepmill(folder, "build", "build.yaml")
    assert ended.returncode == 2, ended.stderr[-3000:]
    message = ended.stderr[ended.stderr.index("stepmill: run r stopped in stage sample: of ") :]
    said, *shown = message.strip().splitlines()
    assert any(f"({flaw} " in said for flaw in flaws), said
    assert len(shown) == 3, message
    assert "Traceback" not in ended.stderr
    found = json.loads(stepmill(folder, "status", "r", "--json").stdout)
    assert message.strip() == "stepmill: " + found["stopped"]
    assert found["stages"][1]["rows"] < 8 * SAMPLE["cap"], "at most a part of what it may cost"
    return ended


def test_a_template_that_cannot_work_stops_the_build(tmp_path: Path) -> None:
    write_problems(world_problems(16), tmp_path / "problems.jsonl")
    folder = shutil.copytree(ROOT / "demo/models/policy", tmp_path / "policy")
    (folder / "chat_template.jinja").write_text(LLAMA_3)
    policy = {"kind": "vllm", "model": str(folder), "max_in_flight": 128}
    stopped(build(tmp_path, policy), {"truncated", "no_box", "one_step", "step_gap", "empty_step"})


def test_a_policy_that_never_boxes_stops_the_build(tmp_path: Path) -> None:
    shutil.copy(ROOT / "examples/math_problems.jsonl", tmp_path / "problems.jsonl")
    policy = {
        "kind": "vllm", "model": str(smollm2()), "max_in_flight": 64, "max_model_len": 1024,
        "dtype": "float32",
    }  # fmt: skip
    stopped(build(tmp_path, policy, limit=16), {"no_box", "truncated"})
