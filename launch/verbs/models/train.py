"""The verb `train`: checks, cluster, progress, and the model's folder.

Invariant: nothing is written before the checks have passed; Ctrl-C and a crash leave a training
that the same command continues; one that is finished only has its model copied.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import typer
from rich.console import Console

from actors.machines.fitness import torch_misfits
from actors.machines.looking import Look
from actors.models.folder import check_model
from launch.cluster.site import Site
from launch.exits import terminable
from launch.shown.training_progress import TrainingProgress
from storage.errors import ConfigurationError, RunStopped
from storage.objects.opening import open_store
from storage.objects.probe import probe_store
from storage.trainings.training import StoredFolder, Training
from workflows.runs.configuration import ClusterSettings
from workflows.training.record import last_held_out
from workflows.training.settings import TrainConfig
from workflows.training.start import (
    check_out,
    check_trainable,
    job_of,
    pinned,
    recalled,
    settled,
    start_training,
    training_of,
    write_out,
)

MODELS = Path(".stepmill/models")


def train_model(config: TrainConfig, out: Path | None, address: str | None, as_json: bool) -> None:
    """Start or continue a training, to its end, and copy the model to a folder."""
    target = out or MODELS / config.training
    store = open_store(config.store)
    with Site(ClusterSettings(ray_address=config.spread.ray_address), address) as site:
        begun = Training.find(store, config.training)
        config = recalled(config, begun)
        if not site.remote:
            check_model(config.base_model)
        model = training_of(config, store).model()
        check_out(target, model)
        looks: list[Look] = []
        if model is None:
            probe_store(store)
            if site.remote and config.spread.device == "auto":
                spread = config.spread
                site.gpus_for(spread.workers, spread.cpus_per_worker or 1, spread.place_patience_s)
            looks = site.machines(config.spread.device == "auto")
            _check_machines(looks)
            if config.spread.device == "cpu":  # what its GPUs could do is of no matter
                looks = [replace(one, machine=replace(one.machine, gpus=())) for one in looks]
            if not site.remote:
                check_trainable(config)
        config = settled(pinned(config, begun), [look.machine for look in looks], begun)
        training = start_training(config, store)
        if model is None:
            _train(config, training, site)
            model = training.model()
            if model is None:
                raise RunStopped(f"training {training.name} ended without a model")
    write_out(training, model, target)
    _show(training, model, target, as_json)


def _check_machines(looks: Sequence[Look]) -> None:
    unfit = [(look, misfit) for look in looks for misfit in torch_misfits(look.machine)]
    if unfit:
        look, misfit = unfit[0]
        raise ConfigurationError(f"{look.where}: {misfit}")


def _train(config: TrainConfig, training: Training, site: Site) -> None:
    from actors.training.ray_job import run_training  # takes seconds to import

    there = site.gpus()  # joins or starts the cluster
    gpus = there if config.spread.device == "auto" else 0
    # Ray sets a handler of SIGTERM when it starts; ours comes after it.
    with terminable():
        asyncio.run(_fetch(config, "GPU" if gpus else "CPU"))
        # Standard output is for the result: what Ray Train prints is no part of it.
        with TrainingProgress(training.name) as progress, contextlib.redirect_stdout(sys.stderr):
            run_training(job_of(config, training), gpus, not site.remote, progress.happened)


async def _fetch(config: TrainConfig, resource: str) -> None:
    """Bring the base onto the nodes before workers hold their GPUs."""
    from actors.workers.ray_models import NodeModels

    console = Console(stderr=True, highlight=False)
    say = partial(console.print, markup=False, soft_wrap=True)
    await NodeModels({"base": config.base_model}, say).ready("base", resource)


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
        typer.echo(json.dumps(said))
        return
    if found:
        Console(highlight=False).print(
            f"held out: loss {found['eval_loss']:.4f}, step accuracy "
            f"{found['eval_step_accuracy']:.4f} (steps labelled wrong "
            f"{found['eval_wrong_step_accuracy']:.4f}), verdicts after the true text",
            soft_wrap=True,
        )
    size = sum(file.bytes for file in model.files)
    Console(stderr=True, highlight=False).print(
        f"training {training.name} is finished: {model.step} updates, {target} holds the model "
        f"({size / 1e6:,.1f} MB; its curve: training/curve.png)",
        soft_wrap=True,
    )
