"""Runs the code of a run's exported rows again: does each block print the output in the row?

Invariant: a row's blocks run in one fresh interpreter, in their order in the row, under the limits
of the run's spec. Nothing is written.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from actors.engines.admission import together
from actors.sandbox.contract import Limits, Sandbox, SandboxSettings
from actors.sandbox.opening import open_sandbox
from actors.sandbox.session import Interpreter, retried
from storage.rows.kinds import EXAMPLES, RATIONALES
from storage.rows.records import Example
from storage.runs.run import Run
from storage.stated import Finding
from workflows.formats.executed import shown_code
from workflows.formats.fences import unix
from workflows.formats.rationale import printed
from workflows.settings import RationalizeSettings

_WHOLE = 1 << 32


@dataclass(frozen=True, slots=True)
class Rerun:
    """How much was run again, and the rows that printed something else."""

    rows: int = 0
    blocks: int = 0
    findings: tuple[Finding, ...] = ()


def executes(run: Run) -> bool:
    """Whether the run exports rows whose code was run, by its spec."""
    return EXAMPLES.stage in run.spec.stages and bool(_rationalize(run, "execute"))


async def run_again(run: Run, share: float, sandbox: Sandbox | None = None) -> Rerun:
    """Run the code of a share (0..1) of the exported rows, drawn by a hash of their path_id.

    Raises InfrastructureError.
    """
    limits = Limits(**run.spec.section("sandbox_limits"))
    output_chars = int(_rationalize(run, "output_chars"))
    box = sandbox or open_sandbox(SandboxSettings(limits=limits))
    rows = blocks = 0
    findings: list[Finding] = []
    try:
        for shard in sorted(run.shards_of(EXAMPLES.stage)):
            examples = [
                example
                for example in run.read_rows(EXAMPLES, shard)
                if example.executed and example.executions and _chosen(example.path_id, share)
            ]
            rows += len(examples)
            blocks += sum(len(example.executions) for example in examples)
            told = await together(
                *(
                    retried(partial(_row_again, example, box, limits, output_chars))
                    for example in examples
                )
            )
            for example, trouble in zip(examples, told, strict=True):
                if trouble is not None:
                    detail = f"{example.path_id}: {trouble}"
                    findings.append(Finding("runs_otherwise", detail, EXAMPLES.stage, shard))
    finally:
        await box.close()
    return Rerun(rows, blocks, tuple(findings))


def _rationalize(run: Run, name: str) -> Any:
    """A setting of `rationalize` from the run's spec; its default where the spec lacks it."""
    settings: Mapping[str, Any] = run.spec.section("stages").get(RATIONALES.stage, {})
    return settings.get(name, getattr(RationalizeSettings(), name))


def _chosen(path_id: str, share: float) -> bool:
    digest = hashlib.sha256(path_id.encode("utf-8", "replace")).digest()
    return int.from_bytes(digest[:4], "big") < share * _WHOLE


async def _row_again(
    example: Example, sandbox: Sandbox, limits: Limits, output_chars: int
) -> str | None:
    turns = [turn.content for turn in example.conversations if turn.role == "assistant"]
    async with Interpreter(sandbox, f"{example.path_id}/replay") as interpreter:
        for step, turn in enumerate(turns):
            for code, output in shown_code(unix(turn)):
                execution = await interpreter.run(code, limits)
                prints = unix(printed(execution, limits, output_chars)).rstrip("\n")
                if prints != output:
                    return f"paragraph {step + 1}: {prints[:60]!r} where {output[:60]!r} is shown"
    return None
