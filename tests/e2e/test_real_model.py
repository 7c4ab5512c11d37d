"""A real pretrained model on the road: SmolLM2-135M-Instruct as policy, completion model, writer
and base of a training, with vLLM, Ray and the sandbox.

What so weak a model writes is not known beforehand: asked is that everything it wrote is somewhere,
valid or with its reason, and that nothing is kept that was not run.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml

from benchmarks.real_model import Report, prepare, problems, stepmill
from benchmarks.smollm2 import smollm2
from launch.config import load
from storage.objects.opening import open_store
from storage.rows.kinds import EXAMPLES, LABELS, PATHS, RATIONALES, VERIFICATIONS, Record, Rows
from storage.runs.run import Run
from workflows.formats.executed import shown_unrun
from workflows.formats.rationale import Unreadable
from workflows.stages.rationalize import Unwritten

pytestmark = [
    pytest.mark.slow,
    pytest.mark.engine,
    pytest.mark.container,
    pytest.mark.timeout(2400),
]

FEW: Mapping[str, Any] = {
    "estimate": {"probe": 8, "k_hard": 8, "k_medium": 8},
}


class Built(NamedTuple):
    """A finished run and where it lies."""

    folder: Path
    run: Run

    def rows(self, kind: Rows[Record]) -> list[Record]:
        shards = sorted(self.run.shards_of(kind.stage))
        return [row for shard in shards for row in self.run.read_rows(kind, shard)]


def done(folder: Path, *arguments: str) -> str:
    ended = stepmill(folder, *arguments)
    assert ended.returncode == 0, arguments
    return ended.stdout


def finished(folder: Path, config: Path) -> Built:
    asked = load(config)
    run = Run.open(open_store(asked.store), asked.run)
    assert run.success() is not None
    return Built(folder, run)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    """One problem of MATH and five of our own, built as `benchmarks.real_model` builds more."""
    folder = tmp_path_factory.mktemp("real-model")
    config = prepare(folder, problems(1, 5), FEW)
    done(folder, "build", config.name)
    return finished(folder, config)


@pytest.fixture(scope="module")
def everything(built: Built) -> Built:
    """The same, with every verification kept that can be read; no token is spent on it."""
    few = {**FEW, "consensus": {"rule": "none"}}
    config = prepare(built.folder, problems(1, 5), few, run="everything")
    done(built.folder, "build", config.name, "--from", built.run.name)
    return finished(built.folder, config)


def test_every_sample_is_valid_or_has_its_reason(built: Built) -> None:
    paths = built.rows(PATHS)
    assert len(paths) == 6 * 12
    assert {path.invalid_reason is None for path in paths if path.valid} == {True}
    reasons = {"truncated", "no_box", "step_gap", "empty_step", "one_step"}
    assert {path.invalid_reason for path in paths if not path.valid} <= reasons
    assert any(path.selected for path in paths)


def test_real_texts_are_rolled_out_and_labelled(built: Built) -> None:
    selected = {path.path_id: path for path in built.rows(PATHS) if path.selected}
    labels = built.rows(LABELS)
    dropped = built.run.totals("estimate").drops
    assert set(dropped) <= {"mc_zero_start"}
    assert len(labels) + sum(dropped.values()) == len(selected)
    for row in labels:
        assert len(row.labels) == len(selected[row.path_id].steps)


def test_every_text_of_the_writer_stands_or_has_its_reason(built: Built) -> None:
    texts = built.rows(RATIONALES)
    assert texts
    for row in texts:
        assert row.tokens <= 1500
        reason = None if row.dropped is None else row.dropped.partition(":")[0]
        assert reason is None or reason in {*Unreadable, *Unwritten}


def test_what_is_exported_was_run(everything: Built) -> None:
    rows = everything.rows(EXAMPLES)
    assert rows
    assert [shown_unrun(row) for row in rows] == [None] * len(rows)
    store = everything.run.store.url
    done(everything.folder, "audit", "everything", "--store", store, "--replay", "1.0")


def test_the_report_names_what_became_of_everything(built: Built) -> None:
    lines = "\n".join(Report(built.run).lines())
    assert "MATH, Level 1: 1 problems, 12 paths" in lines
    assert f"{len(built.rows(LABELS))} labelled paths" in lines
    assert f"{len(built.rows(EXAMPLES))} exported rows" in lines
    assert "rule `first_error`, the paper's is `all_steps`" in lines


def test_it_is_trained_on_and_vllm_serves_the_result(everything: Built) -> None:
    """A real tokenizer and chat template under `train`, then `score` with what came of it."""
    folder, store = everything.folder, everything.run.store.url
    settings = {
        "run": "everything",
        "base": str(smollm2()),
        "name": "taught",
        "store": store,
        "data": {"held_out": 0.2, "max_length": 1024},
        "learning": {"batch": 2, "rate": 1e-5, "precision": "float32", "packing": False},
        "spread": {"micro_tokens": 1024},
    }
    (folder / "train.yaml").write_text(yaml.safe_dump(settings))
    said = json.loads(done(folder, "train", "train.yaml", "--out", "taught", "--json"))
    assert said["updates"] >= 1
    response = {
        "id": "r1",
        "problem": "What is $2 + 2$?",
        "steps": ["Add: $2 + 2 = 5$.", "The answer is $\\boxed{5}$."],
    }
    (folder / "responses.jsonl").write_text(json.dumps(response) + "\n")
    (folder / "score.yaml").write_text(yaml.safe_dump({"verify": {"max_tokens": 256}}))
    done(
        folder, "score", "training:taught", "responses.jsonl", "--n", "2", "--name", "scored",
        "--store", store, "--config", "score.yaml",
        "--set", "models.verifier.max_model_len=2048",
        "--set", "models.verifier.max_in_flight=8",
    )  # fmt: skip
    scored = Built(folder, Run.open(open_store(store), "scored"))
    histories = scored.rows(VERIFICATIONS)
    assert [row.history for row in histories] == [0, 1]
    for row in histories:
        assert len(row.rewards) == 2
        assert all(0 <= reward <= 1 for reward in row.rewards)
        assert row.model.startswith("taught@")
