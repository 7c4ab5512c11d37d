"""Downloaded views in the hands of TRL: each trains one step as it is.

GenPRM calls its column `conversations`, TRL `messages`: that one is taken alone and renamed.

TRL 1.16 has no trainer for step labels (`discriminative`) nor for counts.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from storage.download import download
from tests.contract.tiny_model import make_tiny_model
from tests.e2e.test_scripted_build import Build, configure
from workflows.build import finish
from workflows.views import VIEWS

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


def sft(common: dict[str, Any], **given: Any) -> Any:
    from trl import SFTConfig, SFTTrainer

    return SFTTrainer(args=SFTConfig(max_length=1000, **common), **given)


def dpo(common: dict[str, Any], **given: Any) -> Any:
    from trl import DPOConfig, DPOTrainer

    return DPOTrainer(args=DPOConfig(**common), **given)


def kto(common: dict[str, Any], **given: Any) -> Any:
    from trl import KTOConfig, KTOTrainer

    return KTOTrainer(args=KTOConfig(**common), **given)


def reward(common: dict[str, Any], **given: Any) -> Any:
    from trl import RewardConfig, RewardTrainer

    return RewardTrainer(args=RewardConfig(**common), **given)


MakeTrainer = Callable[..., Any]
TRAINED: list[tuple[str, MakeTrainer]] = [
    ("genprm", sft), ("cot", sft), ("code", sft), ("direct", sft),
    ("orm", kto), ("pairs", dpo), ("pairs", reward),
]  # fmt: skip


@pytest.mark.parametrize(("view", "make"), [
    pytest.param(view, make, id=f"{view}-{make.__name__}") for view, make in TRAINED
])  # fmt: skip
def test_a_view_trains_one_step(
    view: str, make: MakeTrainer, built: Build, tiny: Path, tmp_path: Path
) -> None:
    import datasets
    from transformers import AutoTokenizer

    download(built.run, tmp_path / "out", VIEWS[view])
    rows = datasets.load_dataset(
        str(tmp_path / "out"), split="train", cache_dir=str(tmp_path / "cache")
    ).select(range(8))
    if "conversations" in rows.column_names:
        rows = rows.select_columns(["conversations"])  # TRL takes `labels` for those of tokens
        rows = rows.rename_column("conversations", "messages")
    common = {
        "output_dir": str(tmp_path / "model"), "max_steps": 1, "logging_steps": 1,
        "per_device_train_batch_size": 2, "report_to": [], "use_cpu": True, "bf16": False,
        "save_strategy": "no", "disable_tqdm": True, "gradient_checkpointing": False,
    }  # fmt: skip
    trainer = make(
        common, model=str(tiny), train_dataset=rows,
        processing_class=AutoTokenizer.from_pretrained(tiny),
    )  # fmt: skip
    loss = trainer.train().training_loss
    print(f"{view}: loss {loss:.3f}")
    assert trainer.state.global_step == 1
    assert math.isfinite(loss) and loss > 0
