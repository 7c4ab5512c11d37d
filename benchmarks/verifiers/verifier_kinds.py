"""One process reward model of one kind and seed: trained on the demo's rows, and its rewards.

All kinds start from one base, see as many solutions in as many updates of the same size, and judge
the same solutions once. Training goes on from its checkpoint, as `stepmill train` does; it is the
same loop without Ray around it, and scoring the same scorer without a run around it.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
from rich.console import Console

from actors.engines.admission import together
from actors.machines.machine import look
from actors.training.events import Event, Place
from actors.training.loop import train
from actors.training.tokens import make_here, tokens_of
from benchmarks.loop import ROOT
from launch.config import load_training
from storage.errors import ItemError
from storage.objects.opening import open_store
from storage.rows import schemas
from storage.rows.records import Response, Verification
from workflows.scoring.asking import config_of
from workflows.scoring.scorer import open_scorer
from workflows.stages.scorers.contract import score
from workflows.training.settings import TrainConfig
from workflows.training.start import job_of, settled, source_of, start_training, write_out

TRAINING = ROOT / "configs" / "train_demo.yaml"
ROWS = "verifications.parquet"


@dataclass(frozen=True, eq=False)
class Variant:
    """A kind with its settings."""

    name: str
    title: str
    kind: str
    head: Mapping[str, Any] = field(default_factory=dict)
    runs: tuple[str, ...] = ()
    """What it learns from; empty: the run of the configuration."""
    as_much_as: tuple[str, ...] = ()
    """The runs whose solutions say how many it sees in all; empty: its own."""


VARIANTS = (
    Variant("genprm", "GenPRM: analysis and executed code", "generative"),
    Variant("direct", "direct: Yes or No at once", "direct"),
    Variant("hard", "discriminative, hard labels", "discriminative"),
    Variant("soft", "discriminative, MC", "discriminative", {"targets": "soft"}),
    Variant("binomial", "discriminative, counts", "discriminative", {"targets": "binomial"}),
    Variant("value", "value: MC after over MC before", "value"),
    Variant("orm", "ORM: outcome of the solution", "orm"),
    Variant("implicit", "implicit: outcome by log-ratio", "implicit"),
)


@dataclass(frozen=True)
class Part:
    """A variant with a seed, and where it works."""

    variant: Variant
    seed: int
    work: Path
    store: str
    epochs: float
    """Times every kept solution is seen; the other kinds' rows are seen as often in all."""

    @property
    def folder(self) -> Path:
        """Everything of this part."""
        return self.work / f"{self.variant.name}-{self.seed}"

    @property
    def rows(self) -> Path:
        """The finished part's verifications."""
        return self.folder / ROWS

    @property
    def name(self) -> str:
        """Of its training."""
        return f"verifiers-{self.variant.name}-{self.seed}-{self.epochs:g}"


def configured(part: Part) -> TrainConfig:
    """The training's configuration, but for its epochs."""
    config = load_training(
        TRAINING, kind=part.variant.kind, name=part.name, store=part.store,
        head=dict(part.variant.head), runs=part.variant.runs or None,
    )  # fmt: skip
    learning = replace(config.learning, seed=part.seed)
    rhythm = replace(config.rhythm, evaluate=100, checkpoint=50)
    return settled(replace(config, learning=learning, rhythm=rhythm), [look()], None)


def rows_of(config: TrainConfig) -> int:
    """Number of solutions that a configuration trains on."""
    tokens = make_here(tokens_of(config.base_model, source_of(config)))
    with tempfile.TemporaryDirectory() as folder:
        return len(tokens.corpus(Path(folder), Place()).train)


def trained(part: Part) -> Path:
    """The folder of the trained model; trained now unless it is."""
    import torch

    torch.set_num_threads(1)  # two slow each other down on so small a model
    config = configured(part)
    counted = replace(config, kind="discriminative", name="rows")
    if part.variant.as_much_as:
        counted = replace(counted, run=None, runs=part.variant.as_much_as)
    seen = part.epochs * rows_of(counted)
    epochs = round(seen / rows_of(config), 6)
    config = replace(config, learning=replace(config.learning, epochs=epochs))
    store = open_store(config.store)
    training = start_training(config, store)
    if training.model() is None:
        job = job_of(config, training)
        make_here(tokens_of(job.base, job.source))
        train(job, Place(), lambda event: _say(part, event))
    model = part.folder / "model"
    write_out(training, training.model(), model)
    return model


def _say(part: Part, event: Event) -> None:
    if event.kind in ("prepared", "held_out", "finished"):
        print(f"{part.name} {event.kind} {event.step} {dict(event.values)}", flush=True)


def scored(part: Part, model: Path, responses: Sequence[Response], histories: int) -> None:
    """Judge all responses and store what was said."""
    rows = asyncio.run(_verified(model, responses, part.seed, histories))
    table = schemas.to_table(Verification, rows)
    aside = part.rows.with_suffix(".part")
    pq.write_table(table, aside)
    os.replace(aside, part.rows)


def make(part: Part, responses: Sequence[Response]) -> None:
    """Train one part, let it judge all responses, and write how long each took."""
    started = time.monotonic()
    model = trained(part)
    seconds = time.monotonic() - started
    started = time.monotonic()
    scored(part, model, responses, 1)
    times = {"training_s": seconds, "scoring_s": time.monotonic() - started}
    (part.folder / "times.json").write_text(json.dumps(times))


def make_in_a_process(module: str, part: Part, arguments: Sequence[str], console: Console) -> None:
    """Make one part by itself: what it holds is given back with it. Raises SystemExit.

    `module`: the benchmark, which makes the part that `--part` names.
    """
    part.folder.mkdir(parents=True, exist_ok=True)
    console.rule(f"{part.variant.title}, seed {part.seed}")
    command = [sys.executable, "-m", module, *arguments,
               "--part", part.variant.name, str(part.seed)]  # fmt: skip
    if code := subprocess.run(command, check=False).returncode:
        console.print(f"{part.name}: exit code {code}; the same call continues it")
        raise SystemExit(code)


async def _verified(
    model: Path, responses: Sequence[Response], seed: int, histories: int
) -> list[Verification]:
    asked = {"verify.seed": seed, "verify.histories": histories, "store": "file:unused",
             "models.verifier.max_in_flight": 48, "models.verifier.dtype": "float32"}  # fmt: skip
    config = config_of(str(model), model, None, asked)

    async def one(response: Response) -> list[Verification]:
        name = response.response_id
        try:
            made = await score(
                scorer, response.problem, response.steps, name, config.verify.histories
            )
        except ItemError as error:
            print(f"{name}: {error}", flush=True)
            return []
        return made.histories

    async with open_scorer(config) as scorer:
        made = await together(*(one(response) for response in responses))
    return [row for rows in made for row in rows]
