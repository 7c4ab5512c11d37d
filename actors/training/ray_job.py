"""Training as a Ray Train job: one process per worker, replaced when it dies.

Ray Train starts the workers, joins them in a process group (NCCL beside GPUs, gloo without) and
starts all of them again when one is lost; they continue from the store's newest checkpoint. No row,
weight or checkpoint passes through Ray: only events do, by an actor that the driver asks.

Invariant: a UserError that a worker finds ends the training at once and reaches the person as it
was raised; anything else that ends a worker is retried, then stops the training, resumable.
"""

from __future__ import annotations

import contextlib
import os
import threading

# Sets what Ray reads when it is imported; this module goes the same way.
from actors.workers.ray_workers import classified  # isort: skip

import ray
import ray.train
import ray.train.torch
from ray.actor import ActorHandle
from ray.exceptions import RayError

from actors.owned_folder import OwnedFolder
from actors.training.events import Event, Place, Say
from actors.training.job import TrainingJob
from actors.training.settings import SpreadSettings
from actors.workers.ray_nodes import cores, nodes_now
from storage.errors import ConfigurationError, RunStopped, UserError

POLL_SECONDS = 0.5
CORES_BESIDE_GPU = 4


class Journal:
    """Holds events until the driver takes them."""

    def __init__(self) -> None:
        self._events: list[Event] = []
        self._refusal: UserError | None = None

    def say(self, event: Event) -> None:
        """Add an event."""
        self._events.append(event)

    def refuse(self, error: UserError) -> None:
        """The training can't be done as it was asked for."""
        self._refusal = self._refusal or error

    def take(self) -> tuple[list[Event], UserError | None]:
        """Everything since the last call."""
        taken, self._events = self._events, []
        return taken, self._refusal


def run_training(job: TrainingJob, gpus: int, private: bool, watch: Say) -> None:
    """Train on the cluster that this process has joined; returns when the model is committed.

    `private`: the cluster can't grow. Raises the UserError that a worker found, ConfigurationError
    where a private cluster is too small, RunStopped where workers are lost too often.
    """
    spread = job.settings.spread
    journal = ray.remote(Journal).options(num_cpus=0, max_concurrency=1).remote()
    fitted = threading.Event()
    trouble: list[Exception] = []
    with OwnedFolder("ray-train") as folder:
        trainer = ray.train.torch.TorchTrainer(
            train_loop_per_worker=_work,
            train_loop_config={"job": job, "journal": journal},
            scaling_config=scaling(spread, gpus, private),
            run_config=ray.train.RunConfig(
                name=job.name,
                storage_path=str(folder),
                failure_config=ray.train.FailureConfig(max_failures=spread.failures),
            ),
        )

        def fit() -> None:
            try:
                trainer.fit()
            except (ray.train.TrainingFailedError, RayError) as error:
                trouble.append(error)
            finally:
                fitted.set()

        thread = threading.Thread(target=fit, name="ray-train", daemon=True)
        thread.start()
        refusal = None
        while refusal is None and not fitted.wait(POLL_SECONDS):
            refusal = _hear(journal, watch)
        fitted.wait()
        refusal = refusal or _hear(journal, watch)
        with contextlib.suppress(RayError):
            ray.kill(journal)
    if refusal is not None:
        raise refusal
    if trouble:
        lines = str(trouble[0]).strip().splitlines() or [type(trouble[0]).__name__]
        raise RunStopped(
            f"training {job.name} lost its workers {spread.failures + 1} times: {lines[-1]}"
        )


def scaling(spread: SpreadSettings, gpus: int, private: bool) -> ray.train.ScalingConfig:
    """What the workers take of the cluster."""
    if private:
        check_workers(spread, gpus)
    each = spread.cpus_per_worker or max(1, cores() // spread.workers)
    if gpus and not spread.cpus_per_worker:
        each = min(each, CORES_BESIDE_GPU, _cores_beside_each_gpu())
    return ray.train.ScalingConfig(
        num_workers=spread.workers,
        use_gpu=gpus > 0,
        resources_per_worker={"CPU": each} | ({"GPU": 1} if gpus else {}),
    )


def check_workers(spread: SpreadSettings, gpus: int) -> None:
    """Raise ConfigurationError where this machine has fewer GPUs, or cores, than workers."""
    if spread.workers > (there := gpus or cores()):
        raise ConfigurationError(
            f"spread.workers is {spread.workers}, this machine has {there} "
            f"{'GPUs' if gpus else 'cores'}: lower it, or join a cluster with --address"
        )


def _cores_beside_each_gpu() -> int:
    """Of the node that has the fewest, at least one: with more a worker would wait for ever."""
    with_gpus = [node.offers for node in nodes_now() if node.offers.get("GPU")]
    return max(1, min(int(node.get("CPU", 0) // node["GPU"]) for node in with_gpus))


def _hear(journal: ActorHandle, watch: Say) -> UserError | None:
    """Pass on what was said; what can't be asked just now is asked later."""
    with contextlib.suppress(RayError), classified("journal"):
        events, refusal = ray.get(journal.take.remote())
        for event in events:
            watch(event)
        found: UserError | None = refusal
        return found
    return None


def _work(config: dict[str, object]) -> None:
    """In a worker: train, and tell the journal."""
    import torch

    from actors.training.loop import train

    job, journal = config["job"], config["journal"]
    assert isinstance(job, TrainingJob)
    assert isinstance(journal, ActorHandle)
    context = ray.train.get_context()
    place = Place(
        rank=context.get_world_rank(),
        workers=context.get_world_size(),
        local_rank=context.get_local_rank(),
        local_workers=context.get_local_world_size(),
        gpu=torch.cuda.is_available() and bool(ray.get_gpu_ids()),
    )
    threads = int(os.environ.get("OMP_NUM_THREADS", "1"))
    torch.set_num_threads(max(1, threads))
    try:
        train(job, place, journal.say.remote)
    except UserError as error:
        ray.get(journal.refuse.remote(error))
