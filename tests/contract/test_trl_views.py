"""Downloaded views in the hands of TRL: the lines that a dataset's card prints train as they stand.

TRL 1.16 has no trainer for step labels (`discriminative`) nor for counts.
"""

from __future__ import annotations

import asyncio
import math
import re
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from storage.datasets.download import download
from storage.datasets.view import FOLDER
from tests.support.scripted_build import Build, configure
from tests.support.tiny_model import make_tiny_model
from workflows.runs.run import finish
from workflows.views.catalogue import VIEWS

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Build:
    build = Build(configure(tmp_path_factory.mktemp("built")))
    asyncio.run(build.work())
    finish(build.run)
    return build


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_model(tmp_path_factory.mktemp("tiny"), context=8192)


TRAINED = ("genprm", "cot", "code", "direct", "orm", "pairs")
FEW = {
    "max_steps": 2, "per_device_train_batch_size": 2, "report_to": [], "use_cpu": True,
    "bf16": False, "save_strategy": "no", "disable_tqdm": True,
}  # fmt: skip
"""What makes the printed lines cheap: two updates on a processor."""


def printed(card: Path) -> str:
    """Every line of Python of a card, in order."""
    return "".join(re.findall(r"```python\n(.*?)```", card.read_text(), re.DOTALL))


@pytest.mark.parametrize("view", TRAINED)
def test_the_lines_that_the_card_prints_train_on_the_download(
    view: str, built: Build, tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import datasets
    import transformers
    import trl
    from transformers import AutoTokenizer

    ran: list[Any] = []

    def train(self: Any, run: Any = transformers.Trainer.train) -> Any:
        ran.append((self, run(self)))

    for name in ("SFTConfig", "KTOConfig", "DPOConfig"):
        monkeypatch.setattr(trl, name, partial(getattr(trl, name), **FEW))
    monkeypatch.setattr(transformers.Trainer, "train", train)
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    download(built.run, tmp_path / "out", VIEWS[view])
    lines = printed(tmp_path / "out" / "README.md")
    for shown, here in ((FOLDER, tmp_path / "out"), ("BASE", tiny), ("OUT", tmp_path / "model")):
        assert shown in lines
        lines = lines.replace(shown, str(here))
    found: dict[str, Any] = {}
    exec(compile(lines, "README.md", "exec"), found)

    ((trainer, result),) = ran
    assert trainer.state.global_step == 2
    assert math.isfinite(result.training_loss) and result.training_loss > 0
    if "conversations" in found["dataset"].column_names:
        tokenizer = AutoTokenizer.from_pretrained(tiny)
        for row, example in zip(trainer.train_dataset, found["dataset"], strict=True):
            learnt = [token for token in row["labels"] if token != -100]
            answers = [t["content"] for t in example["conversations"] if t["role"] == "assistant"]
            assert tokenizer.decode(learnt) == "".join(f"{text}<|im_end|>" for text in answers)


def test_the_card_of_a_view_without_a_trainer_names_none(built: Build, tmp_path: Path) -> None:
    download(built.run, tmp_path, VIEWS["counts"])
    assert "TRL" not in (tmp_path / "README.md").read_text()
