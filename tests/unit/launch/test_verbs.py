"""Every verb from its words to its exit code, in this process: what a cluster would do, is done
here, and what it says is read.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from actors.engines.contract import Chat, EngineSettings
from actors.sandbox.contract import Execution, SandboxSettings, Verdict
from launch.cli.main import app, run_command
from launch.verbs.runs import submit
from storage.objects.opening import open_store
from storage.runs.run import Run
from tests.scripted_verifier import PROBLEMS, world_responses
from tests.support.here import work_here
from tests.support.scripted_build import CONFIG, GIVEN
from tests.support.scripted_world import world_problems, write_problems
from workflows.formats import steps
from workflows.refinement.run import RefineConfig, RefineModels
from workflows.refinement.turns import Refinement
from workflows.runs.configuration import RunConfig

SCRIPTED = {role: {"kind": "scripted", "model": f"tests.scripted_models:{role}"}
            for role in ("policy", "completer", "rationale")}  # fmt: skip
VERIFIER = "tests.scripted_verifier:verifier"


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with a finished build and a file of responses."""
    folder = tmp_path_factory.mktemp("verbs")
    write_problems(GIVEN, folder / "problems.jsonl")
    stages = CONFIG["stages"] | {"rationalize": {"execute": False}}
    build = CONFIG | {"models": SCRIPTED, "stages": stages, "store": f"file:{folder}/store"}
    (folder / "build.yaml").write_text(json.dumps(build))
    rows = [asdict(row) | {"id": row.response_id} for row in world_responses()]
    (folder / "world.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    with pytest.MonkeyPatch.context() as patched:
        work_here(patched)
        patched.chdir(folder)
        assert run_command(["build", "build.yaml"]) == 0
        yield folder


Said = Callable[..., Result]


@pytest.fixture
def said(place: Path) -> Said:
    """What a verb about the runs of the place says, where it ends well."""

    def of(*words: str) -> Result:
        result = CliRunner().invoke(app, [*words, "--store", f"file:{place}/store"])
        assert result.exit_code == 0, result.output
        return result

    return of


def asked_verifier(*words: str) -> list[str]:
    return [*words, "--set", "models.verifier.kind=scripted", "--mode", "cot", "--json"]


def test_a_build_is_looked_at_checked_cleaned_compared_and_copied(place: Path, said: Said) -> None:
    status = json.loads(said("status", "r", "--json").stdout)
    assert status["finished"]
    assert "finished" in said("status", "r", "--watch").stdout
    assert "clean" in said("audit", "r").stdout
    assert json.loads(said("sweep", "r", "--json").stdout)["objects"] == 0
    rows = {stage["stage"]: stage["rows"] for stage in status["stages"]}
    (compared,) = json.loads(said("compare", "r", "--json").stdout)
    assert compared["labelled"] == rows["label"] > 0
    copied = said("download", "r", f"{place}/dataset", "--format", "jsonl").stdout
    assert f"{rows['export']:,} rows" in copied
    text = json.loads(said("texts", "r", "--limit", "1", "--json").stdout)
    assert text["dropped"].startswith("paragraph_missing")
    lacking = said("texts", "r", "--reason", "none_such").stdout
    assert lacking == "run r has no dropped text of 'none_such'\n"


def test_a_build_is_built_resumed_and_derived_by_its_words(place: Path, said: Said) -> None:
    status = said("status", "r", "--json").stdout
    said("build", "build.yaml")
    said("resume", "r")
    assert said("status", "r", "--json").stdout == status
    said("build", "build.yaml", "--run", "again", "--from", "r")
    assert json.loads(said("status", "again", "--json").stdout)["origin"] == "r"


def test_responses_are_scored_and_the_run_is_resumed(place: Path, said: Said) -> None:
    words = asked_verifier("score", VERIFIER, "world.jsonl", "--name", "scored", "--n", "2")
    summary = json.loads(said(*words).stdout)
    assert (summary["scored"], summary["out"]) == (PROBLEMS, ".stepmill/scores/scored")
    assert len(Path(summary["out"], "scores.jsonl").read_text().splitlines()) == PROBLEMS
    shown = said(*[word for word in words if word != "--json"])
    assert f"{PROBLEMS} of {PROBLEMS} responses scored" in shown.output
    assert "score" in said("resume", "scored").output


def test_a_run_that_was_only_begun_is_resumed_to_its_end(
    place: Path, said: Said, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(site: Any, run: Run, config: RunConfig, start: Any = None) -> None:
        start.store()  # its first engine is open
        raise KeyboardInterrupt

    words = asked_verifier("score", VERIFIER, "world.jsonl", "--name", "begun")
    with monkeypatch.context() as patched:
        patched.setattr("workflows.runs.site.Site.complete", interrupted)
        assert run_command([*words, "--store", f"file:{place}/store"]) == 130
    run = Run.open(open_store(f"file://{place}/store"), "begun")
    assert run.success() is None
    verifier = {"kind": "scripted", "model": VERIFIER}
    (place / "own.yaml").write_text(json.dumps({"models": {"verifier": verifier}}))
    said("resume", "begun", "--config", "own.yaml")
    assert run.success() is not None


def test_a_verifier_is_evaluated_by_its_words(place: Path, said: Said) -> None:
    words = asked_verifier("evaluate", VERIFIER, "world.jsonl", "--n", "2", "--out", "measured")
    measured = json.loads(said(*words).stdout)
    assert (place / "measured" / "measures.parquet").exists()
    assert {one["measure"] for one in measured["measures"]} >= {"f1"}
    table = said(*[word for word in words if word != "--json"]).stdout
    assert "written: measured/measures.parquet" in table


def test_solutions_are_refined_by_their_words_and_a_turn_is_resumed(
    place: Path, said: Said, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("workflows.refinement.turns._generator", scripted_generator)
    words = asked_verifier("refine", VERIFIER, "world.jsonl", "--generator", "g", "--turns", "1")
    found = json.loads(said(*words).stdout)
    assert [turn["turn"] for turn in found["turns"]] == [0, 1]
    names = {key.split("/")[1] for key, _ in open_store(f"file://{place}/store").list("runs/")}
    (turn,) = (name for name in names if name.startswith("refine-"))
    assert "repeat `stepmill refine` for the next turn" in said("resume", turn).output


def scripted_generator(wanted: Refinement, store: str) -> RefineConfig:
    engine = EngineSettings(kind="scripted", model=f"{__name__}:generator")
    return RefineConfig(run="refine", store=store, models=RefineModels(generator=engine))


def generator(chat: Chat, seed: int) -> str:
    """Writes the reference solution."""
    (problem,) = (one for one in world_problems(PROBLEMS) if one.text == chat.messages[1].content)
    numbered = enumerate(problem.reference_solution)
    said = steps.SEPARATOR.join(f"{steps.header(at)}{step}" for at, step in numbered)
    return said.removeprefix(chat.prefill)


@pytest.mark.parametrize(("verdict", "code"), [(Verdict.OK, 0), (Verdict.TIMEOUT, 1)])
def test_a_script_is_run_with_the_limits_that_are_asked_for(
    verdict: Verdict, code: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    seen: list[SandboxSettings] = []

    async def run_file(file: Path, settings: SandboxSettings) -> Execution:
        seen.append(settings)
        return Execution(verdict, 0, None, "out\n", "", False, False, 0.1, 0.1, 9, 0.0, "box")

    monkeypatch.setattr("launch.verbs.looking.execute.run_file", run_file)
    words = ["exec", "a.py", "--wall", "2", "--memory", "64"]
    result = CliRunner().invoke(app, words)
    assert (result.exit_code, result.stdout) == (code, "out\n")
    assert verdict in result.stderr
    assert (seen[0].limits.wall_s, seen[0].limits.memory_mb) == (2.0, 64)
    told = json.loads(CliRunner().invoke(app, [*words, "--json"]).stdout)
    assert (told["verdict"], told["stdout"]) == (verdict, "out\n")


@pytest.mark.parametrize(("job", "code"), [("SUCCEEDED", 0), ("STOPPED", 130), ("FAILED", 3)])
def test_a_job_is_sent_with_its_words_and_ends_as_the_build_does(
    job: str, code: int, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[dict[str, Any]] = []

    class Jobs:
        def submit_job(self, **given: Any) -> str:
            sent.append(given)
            return "job-1"

        async def tail_job_logs(self, identity: str) -> Any:
            yield "a line\n"

        def get_job_info(self, identity: str) -> Any:
            status = type("Status", (str,), {"is_terminal": lambda self: True})(job)
            return SimpleNamespace(status=status, driver_exit_code=None)

    monkeypatch.setattr(submit, "_client", lambda address: Jobs())
    result = CliRunner().invoke(app, ["submit", "build.yaml", "--run", "far", "--from", "r"])
    assert (result.exit_code, result.stdout) == (code, "a line\n")
    entry = sent[0]["entrypoint"]
    assert entry.startswith("stepmill build build.yaml --address auto --store file://")
    assert entry.endswith("--problems problems.jsonl --run far --from r")
    assert sent[0]["metadata"] == {"stepmill_run": "far"}
    assert "job job-1 builds run far" in result.stderr
