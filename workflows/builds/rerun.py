"""The code of a run's exported rows, run again: does each block print what is shown behind it?

Invariant: a row's blocks run in one fresh interpreter, in the order in which they are shown, under
the limits of the run's own spec; nothing is written.
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
from storage.audit import Finding
from storage.rows.kinds import EXAMPLES, RATIONALES
from storage.rows.records import Example
from storage.runs.run import Run
from workflows.formats.executed import shown_code
from workflows.formats.fences import unix
from workflows.formats.rationale import printed
from workflows.settings import RationalizeSettings

SANDBOX_ATTEMPTS = 3
"""Tries of one row when its sandbox is lost."""
_WHOLE = 1 << 32


@dataclass(frozen=True, slots=True)
class Rerun:
    """What was run again."""

    rows: int = 0
    blocks: int = 0
    findings: tuple[Finding, ...] = ()


def executes(run: Run) -> bool:
    """Whether the run has exported rows whose code was run, as far as its spec says."""
    return EXAMPLES.stage in run.spec.stages and bool(_rationalize(run, "execute"))


async def run_again(run: Run, share: float, sandbox: Sandbox | None = None) -> Rerun:
    """Run the code of a share of the exported rows; which ones, follows from their names.

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
                    retried(
                        partial(_row_again, example, box, limits, output_chars), SANDBOX_ATTEMPTS
                    )
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
    """A setting of `rationalize`, as the run's spec has it."""
    found: Mapping[str, Any] = run.spec.section("stages").get(RATIONALES.stage, {})
    return found.get(name, getattr(RationalizeSettings(), name))


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
                said = unix(printed(execution, limits, output_chars)).rstrip("\n")
                if said != output:
                    return f"paragraph {step + 1}: {said[:60]!r} where {output[:60]!r} is shown"
    return None
