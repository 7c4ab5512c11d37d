"""Training processes on CPUs that exchange weights and gradients with gloo."""

from __future__ import annotations

import os
import socket

from actors.training.events import Event, Place
from actors.training.job import TrainingJob


def work(rank: int, workers: int, port: int, job: TrainingJob, said: str) -> None:
    """One worker, to the end; the first one writes what it says into a file."""
    import torch

    from actors.training.loop import train

    torch.set_num_threads(1)
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    torch.distributed.init_process_group("gloo", rank=rank, world_size=workers)

    def say(event: Event) -> None:
        with open(said, "a") as file:
            file.write(f"{event.kind} {event.step}\n")

    train(job, Place(rank, workers, rank, workers), say)
    torch.distributed.destroy_process_group()


def train_together(job: TrainingJob, workers: int, said: str) -> None:
    """Train with so many processes. Raises ProcessException where one of them dies."""
    import torch.multiprocessing

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    torch.multiprocessing.start_processes(
        work, (workers, port, job, said), nprocs=workers, start_method="spawn"
    )
