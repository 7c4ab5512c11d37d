"""How any run begins: its spec, the settings to continue it with, and its input, each stored once.

Invariant: repeated with the same spec it changes nothing, so that starting and continuing are one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from actors.models.identity import model_identity
from storage.objects.store import ObjectStore
from storage.rows.kinds import stage_rows
from storage.rows.schemas import schema_versions
from storage.runs.commits import canonical_json
from storage.runs.layout import launch_key
from storage.runs.run import Run
from storage.runs.specs import ShardPlan, Spec, input_digest
from workflows.runs.configuration import RunConfig


def begin(config: RunConfig, spec: Spec, store: ObjectStore) -> Run:
    """Create the run, or open it where it exists with the same spec, and keep its configuration.

    Raises SpecMismatch with the fields that differ.
    """
    run = Run.start(store, config.run, spec)
    store.put_new(launch_key(config.run), canonical_json(asdict(config)))
    return run


def spec_of(
    config: RunConfig,
    binding: Mapping[str, Any],
    stages: Sequence[str],
    rows: Sequence[Any],
    image_digest: str | None = None,
) -> Spec:
    """What the result of a run depends on.

    `binding`: the settings that it depends on; `stages`: its road, the input first; `rows`: its
    input.
    """
    return Spec(
        configuration=dict(binding),
        input_digest=input_digest(rows),
        plan=ShardPlan(len(rows), config.shard_size),
        models={role: model_identity(engine) for role, engine in config.engines.items()},
        image_digest=image_digest,
        stages=tuple(stages),
        schemas=schema_versions(stage_rows(stage).record for stage in stages),
    )


def begin_with_rows(
    config: RunConfig,
    binding: Mapping[str, Any],
    stages: Sequence[str],
    rows: Sequence[Any],
    store: ObjectStore,
    image_digest: str | None = None,
) -> Run:
    """Begin a run as `spec_of` has it, and store its input. Raises SpecMismatch as `begin`."""
    run = begin(config, spec_of(config, binding, stages, rows, image_digest), store)
    run.store_input(rows)
    return run
