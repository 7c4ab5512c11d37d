"""A run is started, continued or found finished by one call, whatever its road."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from actors.engines.contract import Chat, EngineSettings
from storage.audit import audit
from storage.errors import SpecMismatch
from storage.rows.records import Critique
from storage.runs.run import Run
from tests.scripted_verifier import world_responses
from tests.support import here
from tests.support.scripted_build import configure
from workflows.formats import steps
from workflows.refinement.run import RefineConfig, RefineModels
from workflows.runs.configuration import RunConfig
from workflows.runs.run import run, run_async
from workflows.scoring.settings import ScoreConfig, ScoreModels

Kind = tuple[RunConfig, Sequence[Any] | None]


def scripted(model: str) -> EngineSettings:
    return EngineSettings(kind="scripted", model=model)


def a_build(folder: Path) -> Kind:
    stages = {
        "road": ["sample", "estimate", "label", "consensus", "export"],
        "consensus": {"sources": ["labels"]},
        "estimate": {"k_hard": 16, "k_medium": 12, "k_easy": 8, "probe": 8},
    }
    models = {
        role: {"kind": "scripted", "model": f"tests.scripted_models:{role}"}
        for role in ("policy", "completer")
    }
    return configure(folder, stages=stages, models=models), None


def a_score(folder: Path) -> Kind:
    models = ScoreModels(verifier=scripted("tests.scripted_verifier:verifier"))
    config = ScoreConfig(run="r", store=f"file://{folder}/store", responses="f", models=models)
    return replace(config, verify=replace(config.verify, mode="cot")), world_responses()


def a_refinement(folder: Path) -> Kind:
    models = RefineModels(generator=scripted(f"{__name__}:generator"))
    critiques = [
        Critique(one.response_id, one.problem_id, one.problem, one.steps, one.subset, 0, "", 0)
        for one in world_responses()
    ]
    return RefineConfig(run="r", store=f"file://{folder}/store", models=models), critiques


def generator(chat: Chat, seed: int) -> str:
    """Writes another solution."""
    said = f"{steps.header(0)}It is 5.{steps.SEPARATOR}{steps.header(1)}So \\boxed{{5}}."
    return said.removeprefix(chat.prefill)


@pytest.mark.parametrize("kind", [a_build, a_score, a_refinement])
async def test_one_call_starts_continues_and_finds_finished(
    kind: Callable[[Path], Kind], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here.work_here(monkeypatch)
    config, rows = kind(tmp_path)
    worked: list[str] = []

    def interrupted(site: Any, begun: Run, config: RunConfig, start: Any = None) -> None:
        worked.append(begun.name)
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("workflows.runs.site.Site.complete", interrupted)
        with pytest.raises(KeyboardInterrupt):
            run(config, rows)
    made = await run_async(config, rows)
    assert made.success() is not None
    assert audit(made).findings == ()
    monkeypatch.setattr("workflows.runs.site.Site.complete", interrupted)
    assert run(config, rows).success() == made.success()
    assert worked == ["r"]


@pytest.mark.parametrize("kind", [a_build, a_score, a_refinement])
def test_other_settings_are_refused_and_leave_the_run_as_it_is(
    kind: Callable[[Path], Kind], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here.work_here(monkeypatch)
    config, rows = kind(tmp_path)
    made = run(config, rows)
    with pytest.raises(SpecMismatch, match=r"plan\.items_per_shard"):
        run(replace(config, shard_size=config.shard_size + 1), rows)
    assert audit(made).findings == ()
