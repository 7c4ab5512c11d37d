"""Runs whose one stage asks for texts of real length, for `benchmarks.stage_speed`.

Invariant: a run follows from the stage and the number of its items.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from benchmarks import long_texts, paper_world
from benchmarks.shapes import SHAPES, write_folder
from launch.config import validate
from workflows.formats import prompts, steps
from workflows.runs.configuration import RunConfig
from workflows.scoring.settings import ScoreConfig

DEMO = Path(__file__).parents[2] / "demo" / "models" / "rationale"
ROLES = {
    "sample": "policy", "estimate": "completer", "rationalize": "rationale", "score": "verifier"
}  # fmt: skip
ITEMS = {"sample": 192, "estimate": 32, "rationalize": 192, "score": 1536}
"""Problems, or responses, of each stage."""


def model_folder(folder: Path) -> Path:
    """A folder with the demo's tokenizer and a long context; nobody loads its weights."""
    made = folder / "model"
    if not made.exists():
        shape = replace(SHAPES["tiny"], vocab_size=1024)
        write_folder(shape, made, context=32768)
        for file in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
            (made / file).write_bytes((DEMO / file).read_bytes())
    return made


def configuration(
    stage: str,
    items: int | None,
    shard_size: int | None,
    folder: Path,
    sandbox: Mapping[str, int],
) -> RunConfig:
    """A run of the stage with scripted models; shards as they are by default."""
    texts = [f"What is {number} + {number}?" for number in range(items or ITEMS[stage])]
    common: dict[str, Any] = {
        "run": "speed",
        "store": f"file:{folder}/store",
        "sandbox": dict(sandbox),
    }
    engine = {"kind": "scripted", "model": "benchmarks.long_texts:policy"}
    if stage == "score":
        file = folder / "responses.jsonl"
        file.write_text(
            "".join(json.dumps(response(at, text)) + "\n" for at, text in enumerate(texts))
        )
        size = shard_size or 32
        raw = common | {"responses": str(file), "models": {"verifier": engine}, "shard_size": size}
        return TypeAdapter(ScoreConfig).validate_python(raw)
    few = {"correct": 1, "incorrect": 1}
    sampled = {"sample": {"cap": 128}, "estimate": {"cap": 128, **few}, "rationalize": {"cap": 32}}
    thrifty = {"k_hard": 1, "k_medium": 1, "k_easy": 1, "probe": 1}
    return validate(
        common
        | {
            "problems": str(paper_world.write_problems(texts, folder / "problems.jsonl")),
            "shard_size": shard_size or 16,
            "models": {role: engine for role in ("policy", "completer", "rationale")},
            "stages": {
                "sample": sampled[stage],
                "estimate": thrifty if stage == "rationalize" else {},
            },
        },
        "speed",
    )


def response(at: int, text: str) -> dict[str, Any]:
    """A solution to score, as the policy writes it."""
    written = long_texts.policy(prompts.policy_chat(text), at * 7919)
    return {"id": f"r{at}", "problem": text, "steps": list(steps.split(steps.header(1) + written))}
