"""A training to its end: checks, cluster, the work, and the model's folder.

Tokens are made before workers are asked for. On a cluster that was joined they come before its GPUs
too, since those may be nodes that come when they are asked for. Its precision, which follows from
GPUs, is then decided with the tokens stored: no token depends on it.

Invariant: nothing is written before the checks have passed; what was stopped or crashed is a
training that the same call continues; of one that is finished only the model is copied.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from actors.machines.fitness import torch_misfits
from actors.machines.looking import Look
from actors.models.folder import check_model
from actors.stopping import anywhere, awaitable, terminable
from storage.errors import ConfigurationError, RunStopped
from storage.objects.opening import open_store
from storage.objects.probe import probe_store
from storage.objects.store import ObjectStore
from storage.trainings.folders import StoredFolder
from storage.trainings.training import Training
from workflows.runs.configuration import ClusterSettings
from workflows.runs.listening import SILENT, Listener
from workflows.runs.site import Site
from workflows.runs.waiting import check_gpu_cores
from workflows.training.settings import TrainConfig
from workflows.training.start import (
    check_out,
    check_trainable,
    job_of,
    pinned,
    recalled,
    settled,
    source_of,
    start_training,
    store_file,
    training_of,
    write_out,
)

MODELS = Path(".stepmill/models")


@dataclass(frozen=True, slots=True)
class Trained:
    """A finished training."""

    training: Training
    model: StoredFolder
    """What is stored of it."""
    folder: Path
    """Where the model lies."""


@anywhere
def train(
    config: TrainConfig,
    out: Path | None = None,
    address: str | None = None,
    listener: Listener = SILENT,
) -> Trained:
    """Start or continue a training, to its end, and copy the model to a folder.

    `out`: by default `.stepmill/models/TRAINING`. Raises UserError before any work, RunStopped and
    other InfrastructureError.
    """
    target = out or MODELS / config.training
    store = open_store(config.store)
    cluster = ClusterSettings(ray_address=config.spread.ray_address)
    with Site(cluster, address, listener, config) as site:
        begun = Training.find(store, config.training)
        config = recalled(config, begun)
        if not site.remote:
            check_model(config.base_model)
        model = training_of(config, store).model()
        check_out(target, model)
        config = pinned(config, begun)
        looks: list[Look] = []
        gpus_later = site.remote and config.spread.device == "auto"
        if model is None:
            probe_store(store)
            if gpus_later:  # else they would wait for the tokens
                _check_gpus(config, site)
                if begun is not None:  # another configuration is refused before any work
                    start_training(settled(config, (), begun), store)
                _make_tokens(config, store, site)
                spread = config.spread
                site.gpus_for(spread.workers, spread.cpus_per_worker or 1, spread.place_patience_s)
            looks = site.machines(config.spread.device == "auto")
            _check_machines(looks)
            if config.spread.device == "cpu":  # what its GPUs could do is of no matter
                looks = [replace(one, machine=replace(one.machine, gpus=())) for one in looks]
        machines = [look.machine for look in looks]
        config = settled(config, machines, begun)
        if model is None and not site.remote:
            check_trainable(config, machines)
        training = start_training(config, store)
        if model is None:
            if not gpus_later:
                _make_tokens(config, store, site)
            _train(config, training, site)
            model = training.model()
            if model is None:
                raise RunStopped(f"training {training.name} ended without a model")
    write_out(training, model, target)
    return Trained(training, model, target)


train_async = awaitable(train)


def _check_gpus(config: TrainConfig, site: Site) -> None:
    """What can be said of GPUs before there are enough of them. Raises ConfigurationError."""
    site.gpus()  # joins the cluster
    check_gpu_cores(config.spread.cpus_per_worker or 1)
    _check_machines(site.machines(on_gpus=True))


def _check_machines(looks: Sequence[Look]) -> None:
    unfit = [(look, misfit) for look in looks for misfit in torch_misfits(look.machine)]
    if unfit:
        look, misfit = unfit[0]
        raise ConfigurationError(f"{look.where}: {misfit}")


def _make_tokens(config: TrainConfig, store: ObjectStore, site: Site) -> None:
    """Have the tokens stored, by processors of the cluster, before any worker is asked for."""
    from actors.training.ray_job import check_workers  # takes seconds to import
    from actors.training.ray_tokens import make_tokens
    from actors.training.tokens import tokens_of

    spec = training_of(config, store).spec
    store_file(config, store, spec)
    base, source = config.base_model, source_of(config, spec)
    if not site.remote and tokens_of(base, source).missing() is None:
        return
    gpus = _gpus(config, site)
    if not site.remote:
        check_workers(config.spread, gpus)
    with terminable(), site.listener.tokens(config.training) as tell:
        make_tokens(base, source, config.spread.failures + 1, tell, site.listener.say)


def _train(config: TrainConfig, training: Training, site: Site) -> None:
    from actors.training.ray_job import run_training  # takes seconds to import

    gpus = _gpus(config, site)
    # Ray sets a handler of SIGTERM when it starts; ours comes after it.
    with terminable():
        asyncio.run(_fetch(config, "GPU" if gpus else "CPU", site.listener))
        with site.listener.training(training.name) as happened:
            run_training(job_of(config, training), gpus, not site.remote, happened)


def _gpus(config: TrainConfig, site: Site) -> int:
    """GPUs that workers may be put on; joins or starts the cluster."""
    there = site.gpus()
    return there if config.spread.device == "auto" else 0


async def _fetch(config: TrainConfig, resource: str, listener: Listener) -> None:
    """Bring the base onto the nodes before workers hold their GPUs."""
    from actors.workers.ray_models import NodeModels

    await NodeModels({"base": config.base_model}, listener.say).ready("base", resource)
