"""A resume from a store that is slow for one of two workers, whose exchanges give up soon."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from torch.multiprocessing.spawn import ProcessException

from actors.training.settings import LearningSettings, RhythmSettings, SpreadSettings
from storage.objects.local import LocalStore
from storage.trainings import checkpoints
from tests.support.sharded_workers import Slowness, train_together
from tests.support.training_world import losses, notes_of, prepared, taught_run, tiny_base
from workflows.training.settings import DataSettings, TrainConfig
from workflows.training.start import start_training

pytestmark = [pytest.mark.fault, pytest.mark.slow, pytest.mark.timeout(900)]
TIMEOUT_S = 10.0
SLOW = Slowness(rank=1, part_s=6.0, timeout_s=TIMEOUT_S, beat_s=1.0)


def test_a_slow_store_breaks_no_exchange_because_workers_meet_meanwhile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One worker fetches for more than twice the time after which exchanges give up. Workers that
    would wait for its end give up; those that meet meanwhile go on to the same model.
    """
    tiny_base(tmp_path / "base")
    store = LocalStore.at(tmp_path / "store")
    taught_run(store)
    learning = LearningSettings(epochs=1, batch=8, rate=3e-3, precision="float32", seed=3)
    config = TrainConfig(
        run="taught", base=str(tmp_path / "base"), name="t", store=store.url,
        data=DataSettings(held_out=0.2), learning=learning,
        spread=SpreadSettings(workers=2, strategy="fsdp", micro_tokens=4096),
        rhythm=RhythmSettings(checkpoint=1, evaluate=9),
    )  # fmt: skip
    training = start_training(config, store)
    job, said = prepared(config, training), str(tmp_path / "said")
    quick = replace(SLOW, rank=-1, timeout_s=300.0)  # parts are small from the beginning
    with monkeypatch.context() as patch:
        patch.setenv("STEPMILL_FAULT", f"after_update@2/1=kill-once:{tmp_path}/killed")
        with pytest.raises(ProcessException):
            train_together(job, 2, said, quick)
    (step,) = training.checkpoints()
    parts = len(checkpoints.pieces_of(training.checkpoint(step).files))
    assert parts / 2 / checkpoints.WRITERS * SLOW.part_s > 2 * TIMEOUT_S
    with pytest.raises(ProcessException):
        train_together(job, 2, said, replace(SLOW, beat_s=1000.0))
    Path(said).unlink()
    train_together(job, 2, said, SLOW)
    lines = Path(said).read_text().splitlines()
    assert lines.count("fetching 1") > TIMEOUT_S
    assert f"continued {step}" in lines
    assert len(losses(notes_of(training))) == 3
