"""One worker's training, from the base model to the finished one; no Ray in it.

Each worker reads the dataset from the store for itself, continues from the newest whole checkpoint
and works on to the end. The first worker says what happens and commits.

Invariant: what is trained follows from the job alone, never from the place; a worker may be killed
at any moment and another in its place ends at the same model.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from actors.models.fetching import at_hand
from actors.owned_folder import OwnedFolder
from actors.training.batches import Corpus, StepPlan
from actors.training.events import Event, Place, Say
from actors.training.job import TrainingJob
from actors.training.keeper import (
    Keeper,
    gathered,
    keep_folder,
    newest_checkpoint,
    write_model,
    write_tokenizer,
)
from actors.training.trainer import StepTrainer, arguments
from storage.errors import InputError, first_line
from storage.objects.opening import open_store
from storage.trainings.training import Training


def train(job: TrainingJob, place: Place, say: Say) -> None:
    """Train to the end and commit the model. Raises UserError, InfrastructureError."""
    training = Training(open_store(job.store), job.name, job.spec)
    tell: Say = say if place.rank == 0 else _quiet
    base = Path(at_hand(job.base).model)
    tokenizer, most_tokens, model, dtype = _base(job, base)
    corpus = job.source.load(tokenizer, most_tokens)
    plan = StepPlan(
        tuple(len(one.ids) for one in corpus.train),
        job.settings.learning,
        row_tokens=most_tokens,
        micro_tokens=max(most_tokens, job.settings.spread.micro_tokens),
    )
    tell(
        Event(
            "prepared", 0, plan.steps, _sizes(corpus, plan) | {"parameters": model.num_parameters()}
        )
    )
    with scratch_folder(place) as folder:
        keeper = Keeper(training, job.settings, plan, place, tell, held_out=bool(corpus.held_out))
        found = newest_checkpoint(training, job.settings.spread.strategy, place, folder, tell)
        trainer = StepTrainer(
            model,
            arguments(job.settings, plan.steps, place, folder),
            plan,
            corpus,
            place,
            pad=tokenizer.pad_token_id or 0,
            callbacks=[keeper],
        )
        trainer.train(resume_from_checkpoint=found)
        notes = {
            "updates": plan.steps,
            "counts": corpus.counts,
            "curve": curve_of(trainer.state.log_history),
        }
        state = trainer.accelerator.get_state_dict(trainer.model_wrapped)
        target = folder / "model"
        if place.rank == 0:
            end = int(corpus.train[0].ids[-1])
            write_model(model, state, end, dtype, target)
            write_tokenizer(base, tokenizer.chat_template, target)
            job.dress(target, notes)
        keep_folder(training, target, plan.steps, notes, place, final=True)
        if place.rank == 0 and not job.settings.rhythm.keep:
            training.drop_checkpoints()
        tell(Event("finished", plan.steps, plan.steps))


def curve_of(history: list[dict[str, Any]]) -> list[dict[str, float]]:
    """The learning curve: loss and rate per update, held-out figures where they were taken."""
    names = ("step", "loss", "learning_rate", "grad_norm")
    return [
        {name: entry[name] for name in entry if name in names or name.startswith("eval_")}
        for entry in history
        if "loss" in entry or "eval_loss" in entry
    ]


def _base(job: TrainingJob, folder: Path) -> tuple[Any, int, Any, str]:
    """Tokenizer, longest conversation, model in float32, and the precision it was stored in."""
    from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer
    from transformers.utils import logging

    logging.disable_progress_bar()
    try:
        config = AutoConfig.from_pretrained(folder)
        tokenizer = AutoTokenizer.from_pretrained(folder)
        model = AutoModelForCausalLM.from_pretrained(
            folder, dtype=torch.float32, attn_implementation=job.settings.spread.attention
        )
    except (OSError, ValueError, ImportError) as error:
        raise InputError(
            f"base model {job.base.model} can't be loaded: {first_line(error)}"
        ) from error
    context = int(getattr(config, "max_position_embeddings", 0)) or 1 << 30
    dtype = str(config.dtype or torch.float32).removeprefix("torch.")
    return job.source.tokenizer(tokenizer), job.source.most_tokens(context), model, dtype


@contextlib.contextmanager
def scratch_folder(place: Place) -> Iterator[Path]:
    """A folder that the workers of one machine share; the first of them owns it."""
    with contextlib.ExitStack() as owned:
        mine = owned.enter_context(OwnedFolder("training")) if place.local_rank == 0 else None
        here = os.uname().nodename
        yield next(path for node, path in gathered(place, (here, mine)) if path and node == here)


def _sizes(corpus: Corpus, plan: StepPlan) -> dict[str, Any]:
    lengths = sorted(plan.lengths)
    return {
        **corpus.counts,
        "train": len(corpus.train),
        "held_out": len(corpus.held_out),
        "train_tokens": sum(lengths),
        "own_tokens": sum(one.own_tokens for one in corpus.train),
        "longest": lengths[-1],
        "median": lengths[len(lengths) // 2],
    }


def _quiet(event: Event) -> None:
    """The other workers say nothing."""
