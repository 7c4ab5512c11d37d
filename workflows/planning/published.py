"""Throughputs that others have published, by model size and GPU (`throughputs.yaml`).

A model of another size is taken to be as much slower as it is larger, which holds for models that
fill their GPU. Published figures are of full engines: a build's get half of them, or all.

Invariant: every figure has a source.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import yaml
from pydantic import TypeAdapter

from actors.engines.contract import EngineSettings
from actors.models.facts import facts_of
from storage.errors import ConfigurationError, StepmillError
from workflows.planning.ranges import Range

TABLE = Path(__file__).parent / "throughputs.yaml"
NEAR = 2.5
"""Rows of models at most so many times larger or smaller are asked first."""
REACHED = 0.5
"""Least share of a published throughput that a build reaches."""
BYTES = {"float32": 4, "float16": 2, "bfloat16": 2}
_SIZE = re.compile(r"(?<![\w.])(\d+(?:\.\d+)?)([bm])(?![a-z])", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Source:
    """Where figures were published."""

    what: str
    url: str


@dataclass(frozen=True, slots=True)
class Throughput:
    """One published figure."""

    gpu: str
    model: str
    size: float
    """Billions of parameters."""
    precision: str
    base: float
    """Generated tokens a second and GPU, with usual settings."""
    best: float
    """With the best ones."""
    source: str


@dataclass(frozen=True, slots=True)
class Published:
    """The table."""

    sources: dict[str, Source]
    rows: tuple[Throughput, ...]


@cache
def published() -> Published:
    """Read the table."""
    raw = yaml.safe_load(TABLE.read_text(encoding="utf-8"))
    return TypeAdapter(Published).validate_python(raw)


def rows_for(gpu: str | None, size: float) -> tuple[Throughput, ...]:
    """The rows that speak of a model of this size: of a GPU, or of all.

    Raises ConfigurationError for a GPU that the table lacks.
    """
    rows = published().rows
    of_gpu = tuple(row for row in rows if gpu is None or row.gpu.lower() == gpu.lower())
    if not of_gpu:
        known = ", ".join(dict.fromkeys(row.gpu for row in rows))
        raise ConfigurationError(
            f"--gpu {gpu}: no throughput is known of it, only of {known}; measure yours with a "
            f"small run and give it as --from RUN"
        )

    def apart(row: Throughput) -> float:
        return max(row.size / size, size / row.size)

    kinds = dict.fromkeys(row.gpu for row in of_gpu)
    chosen: list[Throughput] = []
    for kind in kinds:
        mine = [row for row in of_gpu if row.gpu == kind]
        near = [row for row in mine if apart(row) <= NEAR]
        chosen += near or [min(mine, key=apart)]
    return tuple(chosen)


def tokens_a_second(gpu: str | None, size: float) -> Range:
    """Generated tokens a second and GPU that a model of this size may reach."""
    rows, fastest = rows_for(gpu, size), max(row.best for row in published().rows)
    low = min(row.base * row.size for row in rows) / size
    high = max(row.best * row.size for row in rows) / size
    return Range(min(low, fastest) * REACHED, min(high, fastest))


def seconds_a_token(gpu: str | None, size: float) -> Range:
    """Seconds of a GPU that a model of this size takes for a generated token."""
    speed = tokens_a_second(gpu, size)
    return Range(1 / (speed.high or speed.low), 1 / speed.low)


def size_of(engine: EngineSettings) -> float | None:
    """Billions of parameters of a local model, by its name or its files; None: not known."""
    sizes = [
        float(number) / (1000 if unit in "mM" else 1)
        for number, unit in _SIZE.findall(engine.model.rpartition("/")[2])
    ]
    if sizes:
        return max(sizes)
    try:
        facts = facts_of(engine)
    except (StepmillError, OSError):
        return None
    if facts.weights_bytes is None:
        return None
    return facts.weights_bytes / BYTES.get(facts.dtype.removeprefix("torch."), 2) / 1e9
