"""The verb `train`: a training to its end, and what came out.

Invariant: Ctrl-C and a crash leave a training that the same command continues.
"""

from __future__ import annotations

from pathlib import Path

from launch.shown.terminal import TERMINAL
from launch.shown.text import json_line, say
from storage.trainings.folders import StoredFolder
from storage.trainings.training import Training
from workflows.training.record import in_common, last_held_out
from workflows.training.run import train
from workflows.training.settings import TrainConfig


def train_model(config: TrainConfig, out: Path | None, address: str | None, as_json: bool) -> None:
    """Train, and say what came out."""
    made = train(config, out, address, TERMINAL)
    _show(made.training, made.model, made.folder, as_json)


def _show(training: Training, model: StoredFolder, target: Path, as_json: bool) -> None:
    """What came out."""
    curve = model.notes["curve"]
    found = last_held_out(curve)
    if as_json:
        said = {
            "training": training.name,
            "folder": str(target),
            "updates": model.step,
            "loss": next(entry["loss"] for entry in reversed(curve) if "loss" in entry),
            "held_out": {
                name.removeprefix("eval_"): found[name] for name in found if name != "step"
            },
            "counts": model.notes["counts"],
            "files": {file.path: file.bytes for file in model.files},
        }
        say(json_line(said))
        return
    if found:
        say(
            f"held out: loss {found['eval_loss']:.4f}, step accuracy "
            f"{found['eval_step_accuracy']:.4f} (steps labelled wrong "
            f"{found['eval_wrong_step_accuracy']:.4f}), verdicts after the true text"
        )
    if training.spec.runs:
        say(f"{len(training.spec.runs)} runs: {in_common(model.notes['counts'])}")
    size = sum(file.bytes for file in model.files)
    say(
        f"training {training.name} is finished: {model.step} updates, {target} holds the model "
        f"({size / 1e6:,.1f} MB; its curve: training/curve.png)",
        err=True,
    )
