"""Training processes on CPUs that exchange weights and gradients with gloo."""

from __future__ import annotations

import os
import threading
from dataclasses import dataclass
from datetime import timedelta

from actors.training.events import Event, Place
from actors.training.job import TrainingJob
from tests.support.ports import free_port


@dataclass(frozen=True)
class Slowness:
    """A store that is slow for one worker, and how soon exchanges give up."""

    rank: int
    part_s: float
    """Seconds that each part of a file takes."""
    timeout_s: float
    beat_s: float
    """Seconds between two meetings."""

    def begin(self, rank: int) -> None:
        """Make this worker's store as slow; parts are small."""
        from actors.training import together
        from storage.objects.local import LocalStore
        from storage.trainings import checkpoints

        together.BEAT_S = self.beat_s
        checkpoints.PART_BYTES = 16 * 1024
        if rank != self.rank:
            return
        get, never = LocalStore.get, threading.Event()

        def slow(store: LocalStore, key: str, most: int | None = None) -> bytes:
            if key.startswith("trainings/") and "/parts/" in key:
                never.wait(self.part_s)
            return get(store, key, most)

        LocalStore.get = slow  # type: ignore[method-assign]


def work(
    rank: int, workers: int, port: int, job: TrainingJob, said: str, slow: Slowness | None
) -> None:
    """One worker, to the end; the first one writes what it says into a file."""
    import torch

    from actors.training.loop import train

    torch.set_num_threads(1)
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    patience = timedelta(seconds=1800)
    if slow is not None:
        slow.begin(rank)
        patience = timedelta(seconds=slow.timeout_s)
    torch.distributed.init_process_group("gloo", rank=rank, world_size=workers, timeout=patience)

    def say(event: Event) -> None:
        with open(said, "a") as file:
            file.write(f"{event.kind} {event.step}\n")

    train(job, Place(rank, workers, rank, workers), say)
    torch.distributed.destroy_process_group()


def train_together(job: TrainingJob, workers: int, said: str, slow: Slowness | None = None) -> None:
    """Train with so many processes. Raises ProcessException where one of them dies."""
    import torch.multiprocessing

    torch.multiprocessing.start_processes(
        work, (workers, free_port(), job, said, slow), nprocs=workers, start_method="spawn"
    )
