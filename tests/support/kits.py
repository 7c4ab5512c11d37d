"""What a run gives to a stage, for a stage that is tried alone."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from actors.engines.contract import Engine
from actors.sandbox.contract import Limits, Sandbox
from storage.rows.kinds import Rows
from workflows.answers.grading import grader
from workflows.estimation.posterior import Chain
from workflows.settings import AnswerSettings, StageSettings
from workflows.stages.kit import Kit, Stage


def kit_of(
    stage: Stage,
    engine: Engine | None = None,
    sandbox: Sandbox | None = None,
    *,
    settings: Any = None,
    without: tuple[Rows[Any], ...] = (),
    limits: Limits = Limits(),  # noqa: B008 - frozen
    chain: Chain | None = None,
    model: str = "m",
    **groups: Any,
) -> Kit[Any]:
    """The kit of a stage, on a road that lacks rows `without`; `groups` are of `StageSettings`."""
    reads = tuple(kind.stage for kind in stage.reads if kind not in without)
    return Kit(
        "run",
        settings or StageSettings(**groups),
        replace(stage.spec, reads=reads),
        {stage.role: model},
        limits,
        chain,
        engine,
        sandbox,
        grader(AnswerSettings()),
    )
