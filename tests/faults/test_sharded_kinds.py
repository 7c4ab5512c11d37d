"""Models that read, trained by two processes with gloo under FSDP2: the curve of one."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from actors.training.events import Place
from actors.training.loop import train
from actors.training.settings import LearningSettings, RhythmSettings, SpreadSettings
from storage.objects.local import LocalStore
from tests.support.sharded_workers import train_together
from tests.support.taught_solutions import solved_run
from tests.support.training_world import losses, notes_of, prepared, tiny_base
from workflows.training.settings import DataSettings, TrainConfig
from workflows.training.start import start_training

pytestmark = [pytest.mark.fault, pytest.mark.slow, pytest.mark.timeout(600)]


@pytest.mark.parametrize("kind", ["discriminative", "implicit"])
def test_two_workers_that_share_the_weights_draw_the_curve_of_one(
    kind: Any, tmp_path: Path
) -> None:
    store = LocalStore.at(tmp_path / "store")
    tiny_base(tmp_path / "base")
    solved_run(store)
    alone = TrainConfig(
        run="solved", base=str(tmp_path / "base"), name="alone", store=store.url, kind=kind,
        data=DataSettings(held_out=0), rhythm=RhythmSettings(evaluate=100, checkpoint=100),
        learning=LearningSettings(epochs=30, batch=6, rate=5e-3, precision="float32",
                                  packing=False),
    )  # fmt: skip
    together = replace(alone, name="together", spread=SpreadSettings(workers=2, strategy="fsdp"))
    one, two = (start_training(config, store) for config in (alone, together))
    train(prepared(alone, one), Place(), lambda event: None)
    train_together(prepared(together, two), 2, str(tmp_path / "said"))
    assert losses(notes_of(two)) == pytest.approx(losses(notes_of(one)), abs=1e-4)
