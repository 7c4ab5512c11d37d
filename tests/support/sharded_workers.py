"""Training processes that shard a model over CPUs, with gloo.

accelerate gives workers without accelerators data parallelism, whatever sharding was asked for.
Told otherwise, it does on CPUs what it does on GPUs: the same wrapping, gathering, clipping and
checkpoints, by the same calls; only the transport is another.
"""

from __future__ import annotations

import os
import socket
from typing import Any

from actors.training.events import Event, Place
from actors.training.job import TrainingJob


def shard_on_cpus() -> None:
    """Make accelerate shard where it would not."""
    from accelerate.state import AcceleratorState, PartialState
    from accelerate.utils import DistributedType

    real = AcceleratorState.__init__

    def init(self: Any, *arguments: Any, fsdp_plugin: Any = None, **named: Any) -> None:
        real(self, *arguments, fsdp_plugin=fsdp_plugin, **named)
        if fsdp_plugin is not None and self.distributed_type == DistributedType.MULTI_CPU:
            if self._mixed_precision != "no":
                fsdp_plugin.set_mixed_precision(self._mixed_precision)
            self.fsdp_plugin, self.distributed_type = fsdp_plugin, DistributedType.FSDP
            PartialState._shared_state["distributed_type"] = DistributedType.FSDP

    AcceleratorState.__init__ = init


def work(rank: int, workers: int, port: int, job: TrainingJob, said: str) -> None:
    """One worker, to the end; the first one writes what it says into a file."""
    import torch

    from actors.training.loop import train

    torch.set_num_threads(1)
    os.environ |= {
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "RANK": str(rank),
        "WORLD_SIZE": str(workers),
        "LOCAL_RANK": str(rank),
        "LOCAL_WORLD_SIZE": str(workers),
    }
    shard_on_cpus()
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
