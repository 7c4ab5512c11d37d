"""What a training asks for, in which order: tokens are there before anything is asked of GPUs."""

from __future__ import annotations

from pathlib import Path

import pytest

from actors.training import ray_job, ray_tokens
from actors.training.settings import LearningSettings, SpreadSettings
from storage.errors import ConfigurationError, RunStopped
from storage.objects.local import LocalStore
from tests.support.training_world import taught_run, tiny_base
from workflows.runs.site import Site
from workflows.training import run
from workflows.training.settings import TrainConfig


def config(folder: Path, spread: SpreadSettings) -> TrainConfig:
    store = LocalStore.at(folder / "store")
    tiny_base(folder / "base")
    taught_run(store)
    return TrainConfig(
        run="taught", base=str(folder / "base"), name="ordered", store=store.url,
        spread=spread, learning=LearningSettings(precision="float32"),
    )  # fmt: skip


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What is asked of a cluster without GPUs, in order; nothing of it is done."""
    said: list[str] = []
    monkeypatch.setattr(Site, "gpus", lambda site: 0)
    monkeypatch.setattr(Site, "machines", lambda site, on_gpus=False: [])
    monkeypatch.setattr(Site, "gpus_for", lambda site, *given: said.append("GPUs"))
    monkeypatch.setattr(run, "check_gpu_cores", lambda cores: said.append("cores of GPU nodes"))
    monkeypatch.setattr(ray_tokens, "make_tokens", lambda *given: said.append("tokens"))
    monkeypatch.setattr(run, "_train", lambda *given: said.append("workers"))
    monkeypatch.setattr(ray_job, "cores", lambda: 2)
    return said


@pytest.mark.parametrize(
    ("spread", "order"),
    [
        (SpreadSettings(ray_address="head:1"), ["cores of GPU nodes", "tokens", "GPUs", "workers"]),
        (SpreadSettings(ray_address="head:1", device="cpu"), ["tokens", "workers"]),
        (SpreadSettings(workers=2), ["tokens", "workers"]),
    ],
    ids=["joined", "joined, on processors", "private"],
)
def test_workers_and_gpus_are_asked_for_once_tokens_are_there(
    tmp_path: Path, asked: list[str], spread: SpreadSettings, order: list[str]
) -> None:
    with pytest.raises(RunStopped, match="without a model"):
        run.train(config(tmp_path, spread), tmp_path / "out")
    assert asked == order


def test_more_workers_than_a_machine_has_cores_are_refused_before_a_token_is_made(
    tmp_path: Path, asked: list[str]
) -> None:
    with pytest.raises(ConfigurationError, match="3, this machine has 2 cores"):
        run.train(config(tmp_path, SpreadSettings(workers=3)), tmp_path / "out")
    assert asked == []
