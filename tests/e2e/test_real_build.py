"""The road with everything real: vLLM, Ray actors, containers, a `kill -9` in the middle.

Slow to start (three engines), so that one build serves all that is asserted of it.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from storage.rows.kinds import RATIONALES
from tests.support.commands import ROOT, environment, stepmill

SMALL: dict[str, Any] = {
    "sample": {"cap": 64, "max_tokens": 256},
    "estimate": {"k_hard": 16, "k_medium": 12, "k_easy": 8, "probe": 8, "max_tokens": 256},
}


def status(folder: Path) -> dict[str, Any]:
    shown = stepmill(folder, "status", "small", "--json")
    assert shown.returncode == 0, shown.stderr
    found: dict[str, Any] = json.loads(shown.stdout)
    return found


def commits(folder: Path) -> dict[str, bytes]:
    root = folder / ".stepmill/store/runs/small"
    return {str(f.relative_to(root)): f.read_bytes() for f in root.glob("*/commits/*.json")}


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, bytes]]:
    """A build that was killed after its first estimated shard and then continued."""
    folder = tmp_path_factory.mktemp("real")
    config = yaml.safe_load((ROOT / "configs/demo.yaml").read_text())
    config |= {"run": "small", "problems": "problems.jsonl", "shard_size": 4}
    config["stages"] |= SMALL
    for model in config["models"].values():
        model["model"] = str((ROOT / "configs" / model["model"]).resolve())
    (folder / "build.yaml").write_text(yaml.safe_dump(config))
    world = [sys.executable, "-m", "demo.world", "--out", "problems.jsonl", "--problems", "12"]
    subprocess.run([*world, "--seed", "5"], cwd=folder, env=environment(), check=True)
    reached = folder / "reached"
    os.mkfifo(reached)
    first = subprocess.Popen(
        [sys.executable, "-m", "launch", "build", "build.yaml"],
        cwd=folder,
        env=environment(STEPMILL_FAULT=f"after_commit@estimate/0=wait:{reached}"),
        start_new_session=True,
    )
    with reached.open("wb"):  # opens when the worker has got there, and holds it there
        os.killpg(first.pid, signal.SIGKILL)
    assert first.wait() == -signal.SIGKILL
    before = commits(folder)
    rest = stepmill(folder, "build", "build.yaml")
    assert rest.returncode == 0, rest.stderr[-3000:]
    return folder, before


pytestmark = [pytest.mark.engine, pytest.mark.container, pytest.mark.timeout(1500)]


def test_a_killed_build_continues_and_no_committed_shard_is_made_again(
    built: tuple[Path, dict[str, bytes]],
) -> None:
    folder, before = built
    assert "estimate/commits/000000.json" in before
    after = commits(folder)
    assert {name: after[name] for name in before} == before
    found = status(folder)
    assert found["finished"]
    assert all(stage["shards_done"] == stage["shards"] for stage in found["stages"])


def test_it_audits_clean(built: tuple[Path, dict[str, bytes]]) -> None:
    shown = stepmill(built[0], "audit", "small", "--json")
    assert shown.returncode == 0, shown.stdout
    assert json.loads(shown.stdout)["findings"] == []


def test_the_download_is_read_by_datasets_and_rendered_by_the_completers_template(
    built: tuple[Path, dict[str, bytes]],
) -> None:
    from datasets import load_dataset
    from transformers import AutoTokenizer

    folder, _ = built
    copied = stepmill(folder, "download", "small", "out", "--format", "parquet,jsonl")
    assert copied.returncode == 0, copied.stderr
    files = [str(file) for file in (folder / "out").rglob("*.parquet")]
    rows = load_dataset("parquet", data_files=files, split="train", cache_dir=str(folder / "hf"))
    assert len(rows) > 0
    tokenizer = AutoTokenizer.from_pretrained(ROOT / "demo/models/completer")
    for row in rows:
        turns = row["conversations"]
        assert tokenizer.apply_chat_template(turns, tokenize=False)
        answers = [turn["content"] for turn in turns if turn["role"] == "assistant"]
        assert len(answers) == len(row["labels"])
        for answer, right in zip(answers, row["labels"], strict=True):
            tags = re.findall(r"</?(?:analyze|verify|output)>", answer)
            assert tags == [
                "<analyze>", "</analyze>", "<verify>", "</verify>", "<output>", "</output>",
            ]  # fmt: skip
            assert answer.endswith(f"$\\boxed{{{'Yes' if right else 'No'}}}$\n</output>\n")


def test_code_was_really_run(built: tuple[Path, dict[str, bytes]]) -> None:
    from storage.objects.opening import open_store
    from storage.runs.run import Run

    run = Run.open(open_store(f"file://{built[0]}/.stepmill/store"), "small")
    rationales = [
        row for shard in range(run.spec.plan.shards) for row in run.read_rows(RATIONALES, shard)
    ]
    executions = [execution for row in rationales for execution in row.executions]
    assert sum(execution.verdict == "ok" for execution in executions) > len(rationales)
    assert all(execution.output in row.text for row in rationales for execution in row.executions)
