"""Trainings by the command, each in a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from storage.objects.local import LocalStore
from storage.trainings.training import Training, TrainingSpec
from tests.support.training_world import losses, notes_of, taught_run, tiny_base

BIN = Path(sys.executable).parent
UPDATES = 5


class World:
    """A base, a finished run, and a configuration that trains 5 updates with 2 checkpoints."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.store = LocalStore.at(folder / "store")
        tiny_base(folder / "base")
        taught_run(self.store)

    def command(
        self, name: str, run: str = "taught", epochs: float = 2, **spread: Any
    ) -> list[str | Path]:
        settings = {
            "run": run,
            "base": "./base",
            "name": name,
            "store": f"file://{self.folder}/store",
            "data": {"held_out": 0.2},
            "learning": {
                "epochs": epochs, "batch": 8, "rate": 3e-3, "precision": "float32",
                "packing": False, "seed": 3,
            },
            "spread": {"workers": 1, "cpus_per_worker": 1, **spread},
            "rhythm": {"evaluate": 2, "checkpoint": 2},
        }  # fmt: skip
        config = self.folder / f"{name}.yaml"
        config.write_text(yaml.safe_dump(settings))
        return [BIN / "stepmill", "train", config, "--out", self.folder / f"{name}-model", "--json"]

    def train(self, name: str, fault: str = "", **changes: Any) -> Mapping[str, Any]:
        """Train to the end; returns what is said of it."""
        ended = subprocess.run(
            self.command(name, **changes),
            env=environment(fault), cwd=self.folder, capture_output=True, text=True, check=False,
        )  # fmt: skip
        print(ended.stderr, ended.stdout, sep="\n-- standard output:\n")
        assert ended.returncode == 0, ended.stderr
        said: dict[str, Any] = json.loads(ended.stdout)
        return said | {"log": ended.stderr}

    def weights(self, name: str) -> dict[str, Any]:
        """The trained model's weights, as transformers loads them."""
        from transformers import AutoModelForCausalLM

        folder = self.folder / f"{name}-model"
        model, report = AutoModelForCausalLM.from_pretrained(folder, output_loading_info=True)
        assert not report["missing_keys"]
        assert type(model).__name__ == "Qwen2ForCausalLM"
        return {key: value.numpy() for key, value in model.state_dict().items()}

    def losses(self, name: str) -> list[float]:
        return losses(notes_of(Training(self.store, name, TrainingSpec("", "", "", {}))))


def environment(fault: str) -> dict[str, str]:
    kept = {name: os.environ[name] for name in os.environ if name != "RAY_ADDRESS"}
    return kept | {"STEPMILL_FAULT": fault, "OMP_NUM_THREADS": "1"}
