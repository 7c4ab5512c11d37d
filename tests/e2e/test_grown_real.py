"""A run grown from 40 problems to 96 with the demo's real models, and both runs in one training."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from storage.audit import audit
from storage.objects.opening import open_store
from storage.rows.kinds import EXAMPLES
from storage.runs.run import Run
from tests.support.commands import ROOT, environment, stepmill

BEFORE, NOW, PER_SHARD = 40, 96, 12
COPIED = 4
"""Shards of the first run; the last one has 4 problems."""
ASKING = ("sample", "estimate", "rationalize")
SMALL: dict[str, Any] = {
    "sample": {"cap": 64, "max_tokens": 256},
    "estimate": {"k_hard": 16, "k_medium": 12, "k_easy": 8, "probe": 8, "max_tokens": 256},
}

pytestmark = [
    pytest.mark.slow,
    pytest.mark.engine,
    pytest.mark.container,
    pytest.mark.timeout(2400),
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two builds: of the first 40 problems, and of all 96 from it."""
    folder = tmp_path_factory.mktemp("grown")
    config = yaml.safe_load((ROOT / "configs/demo.yaml").read_text())
    config |= {"run": "small", "problems": "problems.jsonl", "shard_size": PER_SHARD}
    config["stages"] |= SMALL
    for model in config["models"].values():
        model["model"] = str((ROOT / "configs" / model["model"]).resolve())
    (folder / "build.yaml").write_text(yaml.safe_dump(config))
    world = [sys.executable, "-m", "demo.world", "--out", "problems.jsonl", "--problems", str(NOW)]
    subprocess.run([*world, "--seed", "5"], cwd=folder, env=environment(), check=True)
    first = stepmill(folder, "build", "build.yaml", "--limit", str(BEFORE))
    assert first.returncode == 0, first.stderr[-3000:]
    refused = stepmill(folder, "build", "build.yaml")
    assert refused.returncode == 2
    assert f"with `--run small-{NOW} --from small` makes a run of the {NOW}" in refused.stderr
    rest = stepmill(folder, "build", "build.yaml", "--run", f"small-{NOW}", "--from", "small")
    assert rest.returncode == 0, rest.stderr[-3000:]
    assert f"taken over problems ({COPIED} of 9), sample ({COPIED} of 9)" in rest.stderr
    return folder


@pytest.fixture(scope="module")
def runs(folder: Path) -> tuple[Run, Run]:
    store = open_store(f"file://{folder}/.stepmill/store")
    return Run.open(store, "small"), Run.open(store, f"small-{NOW}")


def test_what_was_there_is_not_asked_again(runs: tuple[Run, Run]) -> None:
    small, large = runs
    assert [large.spec.plan.size(shard) for shard in range(9)] == [12, 12, 12, 4, 12, 12, 12, 12, 8]
    for stage in ASKING:
        before, now = small.committed(stage), large.committed(stage)
        assert len(before) == COPIED
        for shard, commit in before.items():
            copied = now[shard]
            assert (copied.sha256, copied.attempt) == (commit.sha256, commit.attempt)
        old, new = (
            sum(commit.counts["tokens"] for commit in commits if (commit.shard < COPIED) is copied)
            for copied, commits in ((True, before.values()), (False, now.values()))
        )
        assert old > 0 and new > 0
        mine = {commit.attempt for commit in before.values()}
        paid = [commit.counts["tokens"] for commit in now.values() if commit.attempt not in mine]
        assert (len(paid), sum(paid)) == (9 - COPIED, new)
        print(f"{stage}: {old:,} tokens before, {new:,} for the {NOW - BEFORE} new problems")
    assert audit(large).findings == audit(small).findings == ()


def test_both_go_into_one_training_and_what_they_share_is_learnt_once(
    folder: Path, runs: tuple[Run, Run]
) -> None:
    config = yaml.safe_load((ROOT / "configs/train_demo.yaml").read_text())
    del config["run"]
    config |= {"runs": [run.name for run in runs], "base": str(ROOT / "demo/models/rationale")}
    config["learning"] |= {"epochs": 1}
    (folder / "train.yaml").write_text(yaml.safe_dump(config))
    trained = stepmill(folder, "train", "train.yaml", "--out", "model", "--json")
    assert trained.returncode == 0, trained.stderr[-3000:]
    counts = json.loads(trained.stdout)["counts"]
    kept, all_kept = (run.totals(EXAMPLES.stage).rows for run in runs)
    assert counts["read"] == kept + all_kept
    assert counts["dropped_repeated"] == kept > 0
    card = (folder / "model/README.md").read_text()
    assert "runs `small` (" in card and f"{kept:,} conversations on solutions of an earlier" in card
    print(f"{kept} and {all_kept} conversations: {counts}")
    out = stepmill(folder, "download", *(run.name for run in runs), "out")
    assert out.returncode == 0, out.stderr
    assert f": {all_kept:,} rows in" in out.stdout
