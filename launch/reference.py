"""`python -m launch.reference` writes docs/configuration.md from the classes of the settings.

Invariant: the page is a pure function of the settings' annotations, defaults and docstrings. A test
fails for a field without a docstring.
"""

from __future__ import annotations

import dataclasses
import inspect
import typing
from collections.abc import Iterator
from typing import Any

from actors.engines.contract import IN_FLIGHT
from launch.docstrings import default_of, field_docs
from workflows.builds.configuration import BuildConfig
from workflows.formats.verification import VerifySettings
from workflows.runs.settling import (
    IN_FLIGHT_ON_CPU,
    IN_FLIGHT_ON_GPU,
    LONGEST_CONTEXT,
    SESSIONS_A_PROCESSOR,
    USUAL_TOKENS,
)
from workflows.serving.settings import ServeSettings
from workflows.settings.solving import SolveSettings
from workflows.stages import GROUPS, OURS
from workflows.training.settings import TrainConfig

INTRODUCTION = """\
# Configuration

A build is one YAML file. `configs/demo.yaml` is the embedded default, `configs/genprm.yaml` has
the paper's models and numbers. An unknown key, a missing field or a value out of bounds is refused
before anything starts. Written by `python -m launch.reference > docs/configuration.md`.
"""

TRAINING = """
# Training

A training (`stepmill train`) is another file: `configs/train_demo.yaml` runs on a CPU,
`configs/train_1.5b.yaml`, `train_7b.yaml` and `train_32b.yaml` have the paper's bases.
"""

SCORING = """
# Scoring

`stepmill score MODEL FILE` takes these from its options and from `--config FILE.yaml`, which also
has `floor` and the keys of `sandbox`, `cluster` and, as `models.verifier`, of an engine. Where the
engine runs decides what is left open: `models.verifier.max_in_flight` is what the GPU's KV cache
holds of verifications of {usual:,} tokens, at most {most} ({gpu} where that can't be told), and
`sandbox.sessions` twice as much. Without a GPU `max_in_flight` is {cpu[0]}, and of sessions there
are no more than {cpu[1]} for each processor, a second of which an interpreter takes to start, and
than a quarter of the memory holds, at 64 MB each. All replicas of a server on one machine share
them; a history without one waits.
`models.verifier.max_model_len` is the model's own context, at most {context}.
"""

SOLVING = """
# Solving

`stepmill solve POLICY FILE --verifier MODEL` takes these from its options and from
`--config FILE.yaml`, which also has `verify` as scoring does, `answers`, `floor` and the keys of
`sandbox`, `cluster` and, as `models.policy` and `models.verifier`, of an engine.
"""

SERVING = """
# Serving

`stepmill serve MODEL` ([serving.md](serving.md)) takes what `score` takes, and a group `serve`.
"""


def page() -> str:
    """The whole page."""
    build, training, verify, solve, serve = (
        "".join(_section(prefix, kind))
        for prefix, kind in (
            ("", BuildConfig), ("", TrainConfig), ("verify.", VerifySettings),
            ("solve.", SolveSettings), ("serve.", ServeSettings),
        )
    )  # fmt: skip
    build += "".join(
        line
        for name, stage in OURS.items()
        if stage.settings and name not in GROUPS
        for line in _section(f"stages.{name}.", stage.settings)
    )
    scoring = SCORING.format(
        usual=USUAL_TOKENS["verifier"],
        most=IN_FLIGHT,
        gpu=IN_FLIGHT_ON_GPU["verifier"],
        cpu=(IN_FLIGHT_ON_CPU["verifier"], SESSIONS_A_PROCESSOR),
        context=LONGEST_CONTEXT,
    )
    parts = (
        INTRODUCTION, build, TRAINING, training, scoring, verify, SOLVING, solve, SERVING, serve,
    )  # fmt: skip
    return "".join(parts).rstrip() + "\n"


def _section(prefix: str, settings: type[Any]) -> Iterator[str]:
    """A table of the plain fields of a settings class, then a section for each nested class."""
    says = field_docs(settings)
    hints = typing.get_type_hints(settings)
    rows, nested = [], []
    for field in dataclasses.fields(settings):
        kind = _present(hints[field.name])
        if dataclasses.is_dataclass(kind):
            nested.append((f"{prefix}{field.name}", kind))
            continue
        name = f"`{prefix}{field.name}`"
        rows.append(f"| {name} | {default_of(field)} | {says[field.name]} |\n")
    title = f"`{prefix.rstrip('.')}`" if prefix else "Top level"
    if rows:
        yield f"\n## {title}\n\n{inspect.getdoc(settings) or ''}\n\n"
        yield "| key | default | meaning |\n|---|---|---|\n"
        yield from rows
    for name, kind in nested:
        yield from _section(f"{name}.", typing.cast("type[Any]", kind))


def _present(hint: Any) -> Any:
    """`X | None` -> X; any other hint stays as it is."""
    parts = [part for part in typing.get_args(hint) if part is not type(None)]
    return parts[0] if len(parts) == 1 and type(None) in typing.get_args(hint) else hint


if __name__ == "__main__":
    print(page(), end="")
