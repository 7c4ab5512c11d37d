"""One worker's training, from the base model to the finished one; no Ray in it.

The workers read tokens that were made before, continue from the newest whole checkpoint and work on
to the end. The first worker says what happens and commits.

Invariant: what is trained follows from the job alone, never from the place; a worker may be killed
at any moment and another in its place ends at the same model.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

from actors.machines.machine import host_memory
from actors.models.fetching import at_hand
from actors.owned_folder import OwnedFolder
from actors.training.attention import attention_name
from actors.training.batches import Corpus, StepPlan
from actors.training.events import Event, Place, Say, quiet
from actors.training.job import TrainingJob
from actors.training.keeper import Keeper, write_model, write_tokenizer
from actors.training.learner import build, gathered_weights, process_group, read_weights
from actors.training.memory import (
    ModelShape,
    check_host,
    estimate,
    gpu_memory,
    memory_plan,
)
from actors.training.moving import Found, check_room, keep_folder, newest_checkpoint
from actors.training.settings import RhythmSettings
from actors.training.together import gathered
from actors.training.tokens import opened
from actors.training.trainer import StepTrainer
from storage.objects.opening import open_store
from storage.trainings.training import Training


def train(job: TrainingJob, place: Place, say: Say) -> None:
    """Train to the end and commit the model. Raises UserError, InfrastructureError."""
    training = Training(open_store(job.store), job.name, job.spec)
    tell: Say = say if place.rank == 0 else quiet
    spread, learning = job.settings.spread, job.settings.learning
    base = Path(at_hand(job.base).model)
    config, tokenizer, most_tokens = opened(base, job.source, job.base.model)
    micro_tokens = max(most_tokens, spread.micro_tokens)
    shape = ModelShape.of(config)
    memory = memory_plan(job.settings, shape, micro_tokens, gpu_memory(place))
    if place.gpu:
        check_host(shape, place.local_workers, host_memory(), memory)
    with process_group(place) as device, scratch_folder(place) as folder:
        corpus = job.source.tokens(tokenizer, most_tokens).corpus(folder, place)
        plan = StepPlan(corpus.train.lengths, learning, micro_tokens)
        sharded = spread.strategy == "fsdp"
        learner = build(
            config, read_weights(base), attention=attention_name(spread.attention),
            learning=learning, sharded=sharded, device=device, place=place,
            recomputed=memory.recomputed, offload=spread.offload, reward=job.settings.reward,
        )  # fmt: skip
        expected = estimate(shape, memory).total if place.gpu else 0
        values = {"parameters": learner.model.num_parameters(), "expected_bytes": expected}
        tell(Event("prepared", 0, plan.steps, _sizes(corpus, plan) | values))
        pad = tokenizer.pad_token_id or 0
        trainer = StepTrainer(learner, learning, plan, corpus, place, device, pad, sharded)
        trainer.refer()
        found = newest_checkpoint(training, place, folder, trainer.needed, tell)
        if found:
            trainer.load(found.folder)
        rhythm = job.settings.rhythm
        curve = found.curve if found else []
        keeper = Keeper(training, plan, place, tell, curve, rhythm.keep)
        dtype = str(config.dtype or torch.float32).removeprefix("torch.")
        model = shape.parameters * getattr(torch, dtype).itemsize if place.rank == 0 else 0
        check_room(place, folder, max(model, trainer.saved_bytes), "a checkpoint or the model")
        _work(trainer, keeper, rhythm, plan, corpus, folder, found)
        notes = {"updates": plan.steps, "counts": corpus.counts, "curve": keeper.curve}
        target = folder / "model"
        weights = gathered_weights(learner.model, getattr(torch, dtype), place)
        if place.rank == 0:
            end = int(corpus.train[0].ids[-1])
            write_model(learner.model, weights, end, dtype, target, job.settings.reward)
            write_tokenizer(base, tokenizer.chat_template, target)
            job.dress(target, notes)
        event = Event("storing", plan.steps, plan.steps)
        keep_folder(training, target, notes, place, event, tell, final=True)
        if place.rank == 0 and not rhythm.keep:
            training.drop_checkpoints()
        peak = torch.cuda.max_memory_allocated() if place.gpu else 0
        values = {"peak_bytes": peak, "expected_bytes": expected}
        tell(Event("finished", plan.steps, plan.steps, values))


def _work(
    trainer: StepTrainer, keeper: Keeper, rhythm: RhythmSettings, plan: StepPlan, corpus: Corpus,
    folder: Path, found: Found | None,
) -> None:  # fmt: skip
    """The updates that are left."""
    with contextlib.closing(trainer):
        for step in range(found.step + 1 if found else 1, plan.steps + 1):
            keeper.updated(step, trainer.update(step - 1))
            last = step == plan.steps
            if corpus.held_out and (last or step % rhythm.evaluate == 0):
                keeper.looked(step, trainer.held_out())
            if not last and step % rhythm.checkpoint == 0:
                keeper.keep(step, trainer, folder / f"checkpoint-{step}")


@contextlib.contextmanager
def scratch_folder(place: Place) -> Iterator[Path]:
    """A folder that the workers of one machine share; the first of them owns it."""
    with contextlib.ExitStack() as owned:
        mine = owned.enter_context(OwnedFolder("training")) if place.local_rank == 0 else None
        here = os.uname().nodename
        yield next(path for node, path in gathered(place, (here, mine)) if path and node == here)


def _sizes(corpus: Corpus, plan: StepPlan) -> dict[str, Any]:
    lengths = plan.lengths
    middle = len(lengths) // 2
    return {
        **corpus.counts,
        "train": len(corpus.train),
        "held_out": len(corpus.held_out),
        "train_tokens": int(lengths.sum(dtype=np.int64)),
        "own_tokens": int(corpus.train.own.sum(dtype=np.int64)),
        "longest": int(lengths.max()),
        "median": int(np.partition(lengths, middle)[middle]),
    }
