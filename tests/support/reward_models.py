"""Tiny process reward models that read: random weights, in folders as `stepmill train` writes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from actors.models.rewards import KEY, RewardModel


def make_headed_model(base: Path, folder: Path, noted: RewardModel, architecture: str = "") -> Path:
    """A head of two logits, with bias, on a model in a folder."""
    import torch
    from transformers import AutoModelForTokenClassification, AutoTokenizer

    torch.manual_seed(1)
    model = AutoModelForTokenClassification.from_pretrained(base, num_labels=2)
    with torch.no_grad():
        model.score.weight.normal_(0, 0.3)
        model.score.bias.uniform_(-1, 1)
    model.save_pretrained(folder)
    AutoTokenizer.from_pretrained(base).save_pretrained(folder)
    note(folder, noted)
    return folder


def note(folder: Path, noted: RewardModel) -> None:
    """Write into a folder's config.json what its model is."""
    file = folder / "config.json"
    config: dict[str, Any] = json.loads(file.read_text())
    file.write_text(json.dumps(config | {KEY: noted.noted()}))
